//! Where the demo is shown: redrawn in place on a terminal, line by line elsewhere.

use std::io::{self, IsTerminal, Stdout, Write};
use std::net::SocketAddr;

use super::DemoArgs;
use super::board::Board;
use super::place::Place;
use super::view::{self, Canvas, Painter, grouped};

/// Below this there is no room for the introduction beside the picture; it scrolls away.
const HEIGHT_MIN: usize = 20;
const DEFAULT_SIZE: (usize, usize) = (100, 40);

/// The output.
#[derive(Debug)]
pub(super) struct Show {
    out: Stdout,
    /// On a terminal; otherwise there is one line for each second.
    painter: Option<Painter>,
    color: bool,
    intro: String,
    begun: bool,
}

impl Show {
    /// Writes nothing yet.
    pub(super) fn open(intro: String) -> Show {
        let out = io::stdout();
        let painter = out.is_terminal().then(Painter::default);
        let color = painter.is_some() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Show { out, painter, color, intro, begun: false }
    }

    /// Shows the board as it is; `second`: a second has passed since the last time this was true.
    pub(super) fn draw(&mut self, board: &mut Board, second: bool) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            writeln!(self.out, "{}", self.intro)?;
        }
        let canvas = self.canvas();
        match &mut self.painter {
            Some(painter) => painter.paint(&mut self.out, &view::block(board.picture(), canvas)),
            None => self.plain(board, second),
        }
    }

    fn plain(&mut self, board: &mut Board, second: bool) -> io::Result<()> {
        for alert in board.fresh_alerts() {
            writeln!(self.out, "{}", view::alert(&alert))?;
        }
        if second {
            writeln!(self.out, "{}", view::second(board.picture()))?;
        }
        self.out.flush()
    }

    /// Writes the last words and gives the terminal back.
    pub(super) fn close(&mut self, summary: &str) -> io::Result<()> {
        self.out.write_all(summary.as_bytes())?;
        self.out.flush()
    }

    fn canvas(&self) -> Canvas {
        let size = rustix::termios::tcgetwinsize(&self.out).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) = size.map_or(DEFAULT_SIZE, |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let beside_intro = height.saturating_sub(self.intro.lines().count() + 1);
        Canvas { width, height: beside_intro.max(HEIGHT_MIN.min(height)), color: self.color }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Some(painter) = &mut self.painter {
            painter.end(&mut self.out).ok();
        }
    }
}

/// What a newcomer needs to know, and what to try.
pub(super) fn intro(args: &DemoArgs, place: &Place, address: SocketAddr, rooms: usize) -> String {
    let taken = if address == args.listen { String::new() } else { format!(" ({} is in use)", args.listen) };
    let (header, token) = (place.header_path(), place.token_path());
    let program = std::env::args().next().unwrap_or("tickerd".to_owned());
    format!(
        "tickerd demo: {} challenges and {} metrics/s, made up; the daemon, the sockets and the latencies are real.\n\
         Listening on {address}{taken}. In a second terminal, raise an alert of your own, or be a client:\n\
         \n  curl -H @{} http://{address}/v1/publish -d '{{\"type\":\"RISK_ALERT\",\"data\":{{\"challenge_id\":\"c01\",\"message\":\"hello\"}}}}'\
         \n  {program} subscribe --url ws://{address}/v1/ws --token-file {} --room challenge:c01\n\
         \nTwo clients are in all {rooms} rooms. Metrics pile up for the slow one, and alerts pass them.\n",
        args.challenges,
        grouped(u64::from(args.metrics_per_second)),
        header.display(),
        token.display(),
    )
}
