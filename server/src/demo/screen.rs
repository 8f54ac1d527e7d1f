//! What happens, while it happens: lines, or a view of the whole terminal.
//!
//! In:   events as they are decided, how far the simulator is.
//! Out:  text on standard output.
//! Owns: the terminal while the view is open; it is given back whatever happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Stdout, Write, stdout};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, size};
use crossterm::{execute, queue};
use weir_contract::{Clock, EventTime};

use super::feed::Progress;
use crate::show::Shown;

/// Last events that the view keeps; no terminal is taller.
const EVENTS_KEPT: usize = 500;
const REDRAW: Duration = Duration::from_millis(200);

/// How the demo shows itself.
pub enum Screen {
    /// Nothing before the summary.
    Silent,
    /// One line an event.
    Lines,
    View(Box<View>),
}

/// The live view.
pub struct View {
    out: Stdout,
    title: String,
    /// Rules whose episodes open and close; others' events only happen.
    conditions: BTreeSet<String>,
    last: VecDeque<Shown>,
    open: BTreeMap<String, Shown>,
    by_rule: BTreeMap<String, u64>,
    drawn: Duration,
    /// Records and simulated time at the last drawing.
    seen: (u64, i64),
}

impl Screen {
    pub fn view(title: String, conditions: BTreeSet<String>) -> Screen {
        let mut out = stdout();
        // A terminal that cannot do this shows the same text, only less tidy.
        let _ = execute!(out, EnterAlternateScreen, Hide);
        Screen::View(Box::new(View {
            out,
            title,
            conditions,
            last: VecDeque::new(),
            open: BTreeMap::new(),
            by_rule: BTreeMap::new(),
            drawn: Duration::ZERO,
            seen: (0, 0),
        }))
    }

    pub fn event(&mut self, shown: Shown) {
        match self {
            Screen::Silent => {}
            Screen::Lines => {
                let _ = writeln!(stdout().lock(), "{}", shown.line());
            }
            Screen::View(view) => view.event(shown),
        }
    }

    pub fn redraw(&mut self, progress: &Progress, clock: &dyn Clock) {
        if let Screen::View(view) = self {
            let now = clock.monotonic();
            let since = now.saturating_sub(view.drawn);
            if since >= REDRAW {
                // What cannot be drawn now is drawn next time.
                let _ = view.draw(progress, since);
                view.drawn = now;
            }
        }
    }
}

impl View {
    fn event(&mut self, shown: Shown) {
        *self.by_rule.entry(shown.rule.clone()).or_default() += 1;
        if self.conditions.contains(&shown.rule) {
            match shown.label.as_str() {
                "CLEARED" => {
                    self.open.remove(&shown.episode);
                }
                _ => {
                    self.open.insert(shown.episode.clone(), shown.clone());
                }
            }
        }
        self.last.push_front(shown);
        self.last.truncate(EVENTS_KEPT);
    }

    fn draw(&mut self, progress: &Progress, since: Duration) -> std::io::Result<()> {
        let (width, height) = size().unwrap_or((100, 30));
        let (width, height) = (usize::from(width).max(20), usize::from(height).max(8));
        let (records, now) =
            (progress.records.load(Ordering::Relaxed), progress.now_us.load(Ordering::Relaxed));
        let seconds = since.as_secs_f64().max(0.001);
        let rate = (records - self.seen.0) as f64 / seconds;
        let times = if self.seen.1 == 0 { 0.0 } else { (now - self.seen.1) as f64 / 1e6 / seconds };
        self.seen = (records, now);
        let clock =
            if now == 0 { "starting".to_owned() } else { EventTime(now / 1_000_000 * 1_000_000).to_string() };
        let mut rows: Vec<(String, Option<Color>)> = Vec::with_capacity(height);
        rows.push((format!("{}   {clock}   {times:.0} times real time", self.title), Some(Color::Cyan)));
        rows.push((format!("records {records}   {rate:.0}/s   open episodes {}", self.open.len()), None));
        let counts: Vec<String> = self.by_rule.iter().map(|(rule, n)| format!("{rule} {n}")).collect();
        rows.push((counts.join("   "), None));
        rows.push((String::new(), None));
        let room = height.saturating_sub(rows.len() + 3);
        let open_rows = self.open.len().min(room / 2);
        rows.push(("open".into(), Some(Color::Cyan)));
        rows.extend(self.open.values().rev().take(open_rows).map(|s| (s.row(), color(&s.label))));
        rows.push(("events".into(), Some(Color::Cyan)));
        let left = height.saturating_sub(rows.len() + 1);
        rows.extend(self.last.iter().take(left).map(|s| (s.row(), color(&s.label))));
        queue!(self.out, MoveTo(0, 0))?;
        for (at, (text, color)) in rows.iter().take(height).enumerate() {
            let cut: String = text.chars().take(width).collect();
            queue!(self.out, MoveTo(0, at as u16), Clear(ClearType::CurrentLine))?;
            match color {
                Some(color) => queue!(self.out, SetForegroundColor(*color), Print(cut), ResetColor)?,
                None => queue!(self.out, Print(cut))?,
            }
        }
        queue!(self.out, Clear(ClearType::FromCursorDown), SetAttribute(Attribute::Reset))?;
        self.out.flush()
    }
}

fn color(label: &str) -> Option<Color> {
    match label {
        "NEW" => Some(Color::Red),
        "NO_DATA" => Some(Color::Magenta),
        "ONGOING" => Some(Color::Yellow),
        "CLEARED" => Some(Color::Green),
        _ => None,
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = execute!(self.out, ResetColor, Show, LeaveAlternateScreen);
    }
}
