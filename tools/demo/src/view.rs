//! What the demo shows while it runs: a live view on a terminal, a line a second anywhere else.
//!
//! The terminal is given back as it was, also after an error or a panic (ratatui restores it in its panic hook, and so does
//! dropping the view). Out of scope: the accounting at the end, which is printed after the view is gone.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};

use crate::accounting::{GatewayCounts, SenderCounts, SinkCounts};

/// One moment of the demo.
#[derive(Clone, Debug, Default)]
pub(crate) struct DemoSnapshot {
    pub(crate) elapsed: Duration,
    /// How long it is to run, if that is limited.
    pub(crate) limit: Option<Duration>,
    /// Each subscription with its state, in words.
    pub(crate) subscriptions: Vec<String>,
    pub(crate) sender: SenderCounts,
    pub(crate) latency: AnswerTimes,
    pub(crate) gateway: GatewayCounts,
    /// Not all of the gateway's counters answered.
    pub(crate) incomplete: bool,
    pub(crate) sink: SinkCounts,
    /// What a reader can do: addresses, files, keys.
    pub(crate) hints: Vec<String>,
}

/// How long the sender waited for answers, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AnswerTimes {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Where the snapshots go.
pub(crate) enum DemoScreen {
    Terminal(DefaultTerminal),
    Plain,
}

impl DemoScreen {
    /// A live view if standard output is a terminal and `plain` is not asked for.
    ///
    /// # Errors
    /// The terminal cannot be put into the mode that the view needs.
    pub(crate) fn open(plain: bool) -> Result<Self> {
        if plain || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Ok(Self::Plain);
        }
        Ok(Self::Terminal(ratatui::try_init()?))
    }

    /// How often [`DemoScreen::show`] should be called.
    pub(crate) fn interval(&self) -> Duration {
        match self {
            Self::Terminal(_) => Duration::from_millis(250),
            Self::Plain => Duration::from_secs(1),
        }
    }

    /// Shows the moment.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(crate) fn show(&mut self, snapshot: &DemoSnapshot) -> Result<()> {
        match self {
            Self::Terminal(terminal) => {
                terminal.draw(|frame| draw(frame, snapshot))?;
            }
            Self::Plain => println!("{}", plain_line(snapshot)),
        }
        Ok(())
    }

    /// Whether the user asked for the end. In the terminal's raw mode, Ctrl-C is a key and no signal.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub(crate) fn end_is_asked_for(&self) -> Result<bool> {
        if matches!(self, Self::Plain) {
            return Ok(false);
        }
        let mut asked = false;
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                asked |= control_c || key.code == KeyCode::Char('q');
            }
        }
        Ok(asked)
    }
}

impl Drop for DemoScreen {
    fn drop(&mut self) {
        if matches!(self, Self::Terminal(_)) {
            ratatui::restore();
        }
    }
}

fn plain_line(snapshot: &DemoSnapshot) -> String {
    let DemoSnapshot { sender, gateway, sink, latency, .. } = snapshot;
    format!(
        "{:>4} s  sent {} = {} accepted + {} refused + {} unavailable + {} unanswered | delivered {}, duplicates {}, pending {}, \
         dead {}, dead letters {} | sink {} | p50 {:.1} ms, p99 {:.1} ms",
        snapshot.elapsed.as_secs(),
        sender.sent,
        sender.accepted,
        sender.refused,
        sender.unavailable,
        sender.unanswered,
        gateway.delivered,
        gateway.duplicate,
        gateway.pending,
        gateway.dead,
        gateway.dead_letters,
        sink.distinct,
        latency.p50_ms,
        latency.p99_ms,
    )
}

fn draw(frame: &mut Frame, snapshot: &DemoSnapshot) {
    let subscriptions = lines_high(snapshot.subscriptions.len());
    let hints = lines_high(snapshot.hints.len());
    let [title, top, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(subscriptions),
        Constraint::Min(9),
        Constraint::Length(hints),
    ])
    .areas(frame.area());
    let [sender, gateway, sink] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);

    frame.render_widget(Line::from(heading(snapshot)).bold(), title);
    frame.render_widget(panel("Subscriptions at Genesys Cloud (simulated)", plain_text(&snapshot.subscriptions)), top);
    frame.render_widget(panel("Sender", sender_text(snapshot)), sender);
    frame.render_widget(panel("Gateway", gateway_text(snapshot)), gateway);
    frame.render_widget(panel("Destination", sink_text(snapshot)), sink);
    frame.render_widget(panel("Look inside", plain_text(&snapshot.hints)), bottom);
}

/// Lines of text with the two of their frame.
fn lines_high(lines: usize) -> u16 {
    u16::try_from(lines.max(1) + 2).unwrap_or(u16::MAX)
}

fn heading(snapshot: &DemoSnapshot) -> String {
    let limit = snapshot.limit.map_or_else(String::new, |limit| format!(" of {} s", limit.as_secs()));
    format!(
        " genesys-webhook-gateway: {} s{limit}. Ctrl-C ends everything and prints the accounting.",
        snapshot.elapsed.as_secs()
    )
}

fn panel<'a>(title: &'a str, text: Text<'a>) -> Paragraph<'a> {
    Paragraph::new(text).block(Block::bordered().title(format!(" {title} "))).wrap(Wrap { trim: false })
}

fn plain_text(lines: &[String]) -> Text<'_> {
    lines.iter().map(|line| Line::from(line.as_str())).collect()
}

fn count(name: &str, value: impl std::fmt::Display) -> Line<'static> {
    Line::from(format!("{name:<28}{value:>10}"))
}

/// A count that should be zero stands out when it is not.
fn fault(name: &str, value: u64) -> Line<'static> {
    let line = count(name, value);
    if value == 0 { line } else { line.style(Style::new().fg(Color::Yellow)) }
}

fn sender_text(snapshot: &DemoSnapshot) -> Text<'static> {
    let DemoSnapshot { sender, latency, .. } = snapshot;
    Text::from(vec![
        count("sent", sender.sent).bold(),
        count("accepted (2xx)", sender.accepted),
        count("refused (4xx)", sender.refused),
        fault("unavailable (5xx)", sender.unavailable),
        fault("unanswered", sender.unanswered),
        count("answer time, half within", format!("{:.1} ms", latency.p50_ms)),
        count("answer time, 99 % within", format!("{:.1} ms", latency.p99_ms)),
    ])
}

fn gateway_text(snapshot: &DemoSnapshot) -> Text<'static> {
    let gateway = &snapshot.gateway;
    let mut lines = vec![
        count("received", gateway.received).bold(),
        count("accepted", gateway.accepted),
        count("refused", gateway.refused),
    ];
    lines.extend(gateway.refused_by_reason.iter().map(|(reason, refused)| count(&format!("  {reason}"), refused)));
    lines.push(fault("unavailable", gateway.unavailable));
    lines.push(count("dead letters kept", gateway.dead_letters));
    if snapshot.incomplete {
        lines.push(Line::from("some counters did not answer").style(Style::new().fg(Color::Yellow)));
    }
    Text::from(lines)
}

fn sink_text(snapshot: &DemoSnapshot) -> Text<'static> {
    let DemoSnapshot { gateway, sink, .. } = snapshot;
    Text::from(vec![
        count("delivered", gateway.delivered).bold(),
        count("duplicates", gateway.duplicate),
        count("pending", gateway.pending),
        fault("given up (dead letter)", gateway.dead),
        count("requests at the sink", sink.received),
        count("different deliveries there", sink.distinct),
    ])
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn snapshot() -> DemoSnapshot {
        DemoSnapshot {
            elapsed: Duration::from_secs(7),
            limit: Some(Duration::from_secs(20)),
            subscriptions: vec!["Production Webhook: there, enabled".to_owned()],
            sender: SenderCounts { sent: 1234, accepted: 1200, refused: 34, ..SenderCounts::default() },
            gateway: GatewayCounts {
                received: 1234,
                refused_by_reason: [("signature_mismatch".to_owned(), 34)].into(),
                delivered: 1180,
                dead_letters: 34,
                ..GatewayCounts::default()
            },
            hints: vec!["log: .wrangler/demo/wrangler.log".to_owned()],
            ..DemoSnapshot::default()
        }
    }

    fn rendered(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, &snapshot())).expect("it draws");
        terminal.backend().to_string()
    }

    #[test]
    fn a_terminal_of_the_usual_size_shows_every_count_that_the_demo_promises() {
        let screen = rendered(120, 24);
        for text in [
            "Production Webhook: there",
            "1234",
            "signature_mismatch",
            "34",
            "1180",
            "dead letters kept",
            "7 s of 20 s",
            "wrangler.log",
        ] {
            assert!(screen.contains(text), "{text} is missing in\n{screen}");
        }
    }

    #[test]
    fn a_tiny_terminal_is_no_error() {
        rendered(10, 3);
    }

    #[test]
    fn the_plain_line_is_one_line_with_the_same_counts() {
        let line = plain_line(&snapshot());
        assert!(!line.contains('\n') && line.contains("sent 1234 = 1200 accepted + 34 refused"), "{line}");
    }
}
