//! `weir-render`: data sets, single frames, and the score of found boxes, from the command line.
//!
//! In:   flags; for `score` two files of JSON lines.
//! Out:  JPEGs with `labels.jsonl`; a JSON score on standard output. Exit code 1 with one line on error.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use weir_render::score::{Boxed, Frame, Score, evaluate};
use weir_render::{Bounds, Class, Domain, Truth, render};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Draws frames of a warehouse floor with their truth")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes frames 000000.jpg, … and labels.jsonl, one line per frame
    Dataset {
        #[arg(long)]
        out: PathBuf,
        #[arg(long)]
        frames: u32,
        #[arg(long, default_value_t = 1)]
        seed: u32,
        #[arg(long, value_parser = domain)]
        domain: Domain,
        /// Width and height in pixels
        #[arg(long, default_value_t = 320)]
        size: u32,
        #[arg(long, default_value_t = 1)]
        threads: u32,
    },
    /// Scores found boxes, JSON lines {"file", "boxes": [[x1, y1, x2, y2, score, class]]}
    Score {
        /// labels.jsonl of a data set
        #[arg(long)]
        labels: PathBuf,
        #[arg(long)]
        found: PathBuf,
        #[arg(long, default_value_t = 0.5)]
        iou: f32,
        /// Score above which a box counts in precision and recall
        #[arg(long, default_value_t = 0.5)]
        threshold: f32,
    },
}

fn domain(name: &str) -> Result<Domain, String> {
    let names = Domain::ALL.map(Domain::name).join(", ");
    Domain::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| format!("expected one of {names}"))
}

#[derive(Serialize)]
struct Label {
    file: String,
    width: u32,
    height: u32,
    truth: Vec<Truth>,
}

#[derive(Deserialize)]
struct Known {
    file: String,
    truth: Vec<KnownBox>,
}

#[derive(Deserialize)]
struct KnownBox {
    class: String,
    x1: f32,
    y1: f32,
    x2: f32,
    y2: f32,
}

#[derive(Deserialize)]
struct Found {
    file: String,
    boxes: Vec<[f32; 6]>,
}

#[derive(Serialize)]
struct Report<'a> {
    iou_min: f32,
    threshold: f32,
    frames: usize,
    mean_average_precision: f64,
    classes: BTreeMap<&'static str, &'a weir_render::score::ClassScore>,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Dataset { out, frames, seed, domain, size, threads } => {
            dataset(&out, frames, seed, domain, size, threads.clamp(1, 64))
        }
        Command::Score { labels, found, iou, threshold } => score(&labels, &found, iou, threshold),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-render: {error}");
            ExitCode::FAILURE
        }
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}").into()
}

fn dataset(
    out: &Path,
    frames: u32,
    seed: u32,
    domain: Domain,
    size: u32,
    threads: u32,
) -> Result<(), Failure> {
    fs::create_dir_all(out).map_err(at(out))?;
    let part = |first: u32| -> Result<Vec<(u32, Label)>, Failure> {
        (first..frames)
            .step_by(threads as usize)
            .map(|number| Ok((number, one(out, number, seed, domain, size)?)))
            .collect()
    };
    let mut labels = std::thread::scope(|scope| -> Result<Vec<(u32, Label)>, Failure> {
        let part = &part;
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a drawing thread ended early")??);
        }
        Ok(all)
    })?;
    labels.sort_by_key(|(number, _)| *number);
    let path = out.join("labels.jsonl");
    let mut file = BufWriter::new(fs::File::create(&path).map_err(at(&path))?);
    for (_, label) in &labels {
        serde_json::to_writer(&mut file, label)?;
        file.write_all(b"\n").map_err(at(&path))?;
    }
    file.flush().map_err(at(&path))
}

fn one(out: &Path, number: u32, seed: u32, domain: Domain, size: u32) -> Result<Label, Failure> {
    let own = u64::from(seed) << 32 | u64::from(number);
    let picture = render(&domain.scene(own), (size, size), own)?;
    let file = format!("{number:06}.jpg");
    let path = out.join(&file);
    fs::write(&path, picture.jpeg()?).map_err(at(&path))?;
    Ok(Label { file, width: picture.width, height: picture.height, truth: picture.truth })
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, Failure> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| format!("{}:{}: {e}", path.display(), number + 1).into())
    };
    text.lines().enumerate().map(read).collect()
}

fn score(labels: &Path, found: &Path, iou: f32, threshold: f32) -> Result<(), Failure> {
    let mut boxes: BTreeMap<String, Vec<Boxed>> = BTreeMap::new();
    for line in lines::<Found>(found)? {
        let boxed = |[x1, y1, x2, y2, score, class]: &[f32; 6]| Boxed {
            class: class.max(0.0) as usize,
            bounds: Bounds { x1: *x1, y1: *y1, x2: *x2, y2: *y2 },
            score: *score,
        };
        boxes.insert(line.file, line.boxes.iter().map(boxed).collect());
    }
    let names: Vec<&str> = Class::all().map(Class::name).collect();
    let mut frames = Vec::new();
    for known in lines::<Known>(labels)? {
        let mut truth = Vec::new();
        for b in &known.truth {
            let class = names.iter().position(|n| *n == b.class).ok_or_else(|| {
                format!(
                    "{}: {} has class {:?}, expected one of {names:?}",
                    labels.display(),
                    known.file,
                    b.class
                )
            })?;
            truth.push(Boxed {
                class,
                bounds: Bounds { x1: b.x1, y1: b.y1, x2: b.x2, y2: b.y2 },
                score: 1.0,
            });
        }
        frames.push(Frame { truth, found: boxes.remove(&known.file).unwrap_or_default() });
    }
    if let Some(file) = boxes.keys().next() {
        return Err(format!("{} has {file}, which {} has not", found.display(), labels.display()).into());
    }
    let Score { iou_min, threshold, frames, mean_average_precision, classes } =
        evaluate(&frames, names.len(), iou, threshold);
    let classes = names.into_iter().zip(&classes).collect();
    let report = Report { iou_min, threshold, frames, mean_average_precision, classes };
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
