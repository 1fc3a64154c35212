//! The live line's columns: which of them fit, and what stands in each.

use super::{lane_figures, milliseconds};
use crate::hist::count_text;
use crate::record::Moment;
use crate::report::figures::lane_name;
use crate::report::text::grouped;
use crate::scenario::Lane;

/// Names of a lane's columns.
const LANE_COLUMNS: [&str; 4] = ["p50", "p99", "99.9", "max"];

/// What lanes' columns and the slip are in.
const UNIT: &str = " times in ms";

/// What is left out first when the line is too wide.
const DROPPED: [What; 8] =
    [What::Bytes, What::Lane(2), What::ServerRss, What::ServerCpu, What::Slip, What::Lane(0), What::Lane(3), What::Published];

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Phase,
    Time,
    Connections,
    Published,
    Received,
    Bytes,
    /// One of [`LANE_COLUMNS`], of every lane.
    Lane(usize),
    Faults,
    Slip,
    ServerRss,
    ServerCpu,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Phase => "phase",
            What::Time => "time",
            What::Connections => "conns",
            What::Published => "publ/s",
            What::Received => "recv/s",
            What::Bytes => "MB/s",
            What::Lane(at) => LANE_COLUMNS[at],
            What::Faults => "faults",
            What::Slip => "slip",
            What::ServerRss => "rss MiB",
            What::ServerCpu => "cpu",
        }
    }

    /// Columns of the terminal, the blank before it included.
    fn width(self) -> usize {
        match self {
            What::Connections | What::Published | What::Received | What::ServerRss => 8,
            What::Faults => 7,
            What::Bytes => 6,
            What::Phase | What::Time | What::Lane(_) | What::Slip | What::ServerCpu => 5,
        }
    }
}

/// The columns of a table of seconds, chosen when its header is written.
pub(super) struct Columns {
    before: Vec<What>,
    lanes: Vec<Lane>,
    of_lane: Vec<What>,
    after: Vec<What>,
}

impl Columns {
    /// As many as fit.
    pub(super) fn new(moment: &Moment, width: usize) -> Columns {
        let mut columns = Columns {
            before: vec![What::Phase, What::Time, What::Connections, What::Published, What::Received, What::Bytes],
            lanes: moment.latency.keys().copied().collect(),
            of_lane: (0..LANE_COLUMNS.len()).map(What::Lane).collect(),
            after: vec![What::Faults, What::Slip],
        };
        if moment.server_rss_bytes.is_some() {
            columns.after.extend([What::ServerRss, What::ServerCpu]);
        }
        for dropped in DROPPED {
            if columns.width() <= width {
                break;
            }
            for list in [&mut columns.before, &mut columns.of_lane, &mut columns.after] {
                list.retain(|what| *what != dropped);
            }
        }
        columns
    }

    fn width(&self) -> usize {
        let sum = |list: &[What]| list.iter().map(|what| what.width()).sum::<usize>();
        sum(&self.before) + self.lanes.len() * (sum(&self.of_lane) + 1) + sum(&self.after)
    }

    /// Two lines: the lanes' names above their columns, and the columns' names.
    pub(super) fn header(&self) -> String {
        let names = |list: &[What]| list.iter().map(|what| right(what.name(), what.width())).collect::<String>();
        let (before, of_lane) = (names(&self.before), names(&self.of_lane));
        let unit = if self.lanes.is_empty() { "" } else { UNIT };
        let mut above = format!("{unit:<0$}", before.chars().count());
        let mut below = before;
        for lane in &self.lanes {
            above.push_str(&over(lane_name(*lane), of_lane.len() + 1));
            below.push(' ');
            below.push_str(&of_lane);
        }
        below.push_str(&names(&self.after));
        format!("{}\n{below}\n", above.trim_end())
    }

    /// One line.
    pub(super) fn line(&self, moment: &Moment) -> Result<String, String> {
        let mut line = String::new();
        let mut put = |what: What, text: &str| line.push_str(&right(text, what.width()));
        for what in &self.before {
            put(*what, &cell(*what, moment));
        }
        for lane in &self.lanes {
            let figures = lane_figures(moment, *lane)?;
            for (at, what) in self.of_lane.iter().enumerate() {
                let What::Lane(index) = *what else { continue };
                let text = figures.map_or("–".into(), |figures| milliseconds(figures[index]));
                put(*what, &if at == 0 { format!(" {text:>0$}", what.width()) } else { text });
            }
        }
        for what in &self.after {
            put(*what, &cell(*what, moment));
        }
        Ok(line)
    }
}

/// What stands in a column that belongs to no lane.
fn cell(what: What, moment: &Moment) -> String {
    let room = what.width() - 1;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    match what {
        What::Time => format!("{:.0}", moment.at_s),
        What::Phase => moment.phase.name().chars().take(room).collect(),
        What::Connections => count(u64::from(moment.joined), room),
        What::Published => count(moment.published, room),
        What::Received => count(moment.received, room),
        What::Bytes if moment.bytes < 99_950_000 => format!("{:.1}", moment.bytes as f64 / 1e6),
        What::Bytes => count((moment.bytes + 500_000) / 1_000_000, room),
        What::Lane(_) => String::new(),
        What::Faults => count(moment.faults, room),
        What::Slip => milliseconds(moment.slip_max_ns),
        What::ServerRss => or_dash(moment.server_rss_bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1_048_576.0))),
        What::ServerCpu => or_dash(moment.server_cpu_s.map(|cpu_s| format!("{:.0}%", 100.0 * cpu_s))),
    }
}

/// To the last one, where there is room: a connection that is missing among ten thousand is seen. Else in short.
fn count(count: u64, room: usize) -> String {
    let text = grouped(count);
    if text.len() <= room { text } else { count_text(count as f64) }
}

/// A text at the right of its columns.
fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

/// A name over columns, with a rule: `─ alert ─────`.
fn over(name: &str, width: usize) -> String {
    let text = format!("  ─ {name} ");
    let length = text.chars().count();
    if length < width { format!("{text}{}", "─".repeat(width - length)) } else { format!("{name:>width$}") }
}
