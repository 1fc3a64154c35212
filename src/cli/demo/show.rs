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
        let intro_rows: usize = self.intro.lines().map(|line| line.chars().count().div_ceil(width).max(1)).sum();
        let beside_intro = height.saturating_sub(intro_rows + 2);
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
    let command = format!("{program} subscribe --url ws://{address}/v1/ws --token-file {}", token.display());
    let page = page(address, args.challenges, place.token());
    format!(
        "tickerd demo: a made-up desk of {} challenges, {} metrics/s; daemon and latencies are real.\n\
         Listening on {address}{taken}. See the desk live in a browser, flood it there, and\n\
         see what the daemon says of itself (Operator):\n\
         \n  {page}\n\
         \nTry in a second terminal:\n\
         \n  curl -H @{} http://{address}/v1/publish \\\
         \n    -d '{{\"type\":\"RISK_ALERT\",\"data\":{{\"challenge_id\":\"c01\",\"message\":\"hello\"}}}}'\
         \n  {command} --room challenge:c01\n\
         \nTwo clients are in all {rooms} rooms, one of them on a slow line. Every 500 ms the newest value of each\n\
         metric leaves; thousands wait for the slow line. See the alerts pass them.\n",
        args.challenges,
        grouped(u64::from(args.metrics_per_second)),
        header.display(),
    )
}

/// The dashboard's address with what it needs to know, behind `#`, so that no server and no proxy sees the token.
fn page(address: SocketAddr, challenges: u64, token: &str) -> String {
    // Beyond eight accounts the metrics are more than some browsers read in time, and then an alert waits in the browser.
    let flood = challenges.min(8);
    format!("http://{address}/#rooms=challenge:c01..{challenges:02}&flood=account:c01..{flood:02}&token={token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_told_the_rooms_and_the_token_behind_the_hash() {
        let page = page("127.0.0.1:8080".parse().unwrap(), 5, "a.b.c");
        assert_eq!(page, "http://127.0.0.1:8080/#rooms=challenge:c01..05&flood=account:c01..05&token=a.b.c");
    }
}
