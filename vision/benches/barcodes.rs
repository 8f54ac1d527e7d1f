//! How many rendered barcodes are read, and how many wrongly: by symbology, module size, blur and turn.
//!
//! `cargo bench -p weir-vision --bench barcodes -- --codes 8 > benches/results/barcodes.txt`. The answer
//! depends on the seed alone; it measures no time.

#[path = "render.rs"]
mod render;

use render::{Chance, code, render};
use weir_vision::barcode::{NothingKnown, Reader, Symbology};
use weir_vision::stop::Stop;

const SIZES: [f64; 6] = [1.0, 1.2, 1.5, 2.0, 3.0, 4.0];
const BLURS: [f64; 4] = [0.0, 0.6, 1.0, 1.5];
const TURNS: [(&str, &[f64]); 4] =
    [("0°", &[0.0]), ("±10°", &[10.0, -10.0]), ("±30°", &[30.0, -30.0]), ("90°", &[90.0])];

/// Outcomes of one cell: sure and right, sure and wrong, right but not sure, wrong and not sure.
#[derive(Default, Clone, Copy)]
struct Cell {
    right: u32,
    wrong: u32,
    maybe: u32,
    off: u32,
}

fn cell(symbology: Symbology, px: f64, blur: f64, turns: &[f64], codes: u64, reader: &mut Reader) -> Cell {
    // Every cell has codes of its own, whatever other cells there are.
    let seed = [symbology as u64, (px * 10.0) as u64, (blur * 10.0) as u64, turns[0] as u64];
    let mut chance =
        Chance(seed.iter().fold(0x9E37_79B9_7F4A_7C15, |s, v| (s ^ v).wrapping_mul(0x100_0000_01B3)));
    let mut cell = Cell::default();
    for number in 0..codes {
        let code = code(symbology, &mut chance);
        let frame = render(&code, px, turns[number as usize % turns.len()], blur, &mut chance);
        let found = reader.read(&frame, &[], &NothingKnown, &Stop::default()).expect("nothing stops it");
        let is_right = |r: &&weir_vision::barcode::Reading| r.text == code.text && r.symbology == symbology;
        cell.right += u32::from(found.iter().filter(|r| r.is_sure()).any(|r| is_right(&r)));
        cell.wrong += u32::from(found.iter().filter(|r| r.is_sure()).any(|r| !is_right(&r)));
        cell.maybe += u32::from(found.iter().filter(|r| !r.is_sure()).any(|r| is_right(&r)));
        cell.off += u32::from(found.iter().filter(|r| !r.is_sure()).any(|r| !is_right(&r)));
    }
    cell
}

fn rows(symbology: Symbology, codes: u64) -> Vec<(f64, Vec<Cell>)> {
    let mut reader = Reader::new(&Symbology::ALL);
    let mut rows = Vec::new();
    for px in SIZES {
        let cells = BLURS.iter().flat_map(|blur| TURNS.iter().map(move |(_, turns)| (*blur, *turns)));
        rows.push((
            px,
            cells.map(|(blur, turns)| cell(symbology, px, blur, turns, codes, &mut reader)).collect(),
        ));
    }
    assert_eq!(reader.panics(), 0, "the library panicked");
    rows
}

/// `--codes N`: codes of each cell.
fn codes() -> u64 {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.iter().position(|a| a == "--codes").and_then(|at| arguments.get(at + 1));
    given.and_then(|n| n.parse().ok()).unwrap_or(8)
}

fn main() {
    let codes = codes();
    let all: Vec<(Symbology, Vec<(f64, Vec<Cell>)>)> = std::thread::scope(|scope| {
        let threads = Symbology::ALL.map(|s| scope.spawn(move || (s, rows(s, codes))));
        threads.into_iter().map(|t| t.join().expect("a thread")).collect()
    });
    println!("barcodes  rendered, no list of known codes, whole frame = the code and 10 modules around it");
    println!("a cell    sure and right, of {codes}; !n: n sure and wrong; ?n: n right but read once only");
    println!("columns   blur (sigma in pixels), turn\n");
    print!("{:8} {:>5} ", "", "px");
    for blur in BLURS {
        print!("| {:<36}", format!("blur {blur}"));
    }
    print!("\n{:8} {:>5} ", "", "");
    for _ in BLURS {
        print!("| ");
        TURNS.iter().for_each(|(name, _)| print!("{name:<8} "));
    }
    println!();
    let mut total = Cell::default();
    for (symbology, rows) in &all {
        for (px, cells) in rows {
            print!("{:8} {px:>5.1} ", symbology.word());
            for (number, cell) in cells.iter().enumerate() {
                let mut text = cell.right.to_string();
                if cell.wrong > 0 {
                    text += &format!(" !{}", cell.wrong);
                }
                if cell.maybe > 0 {
                    text += &format!(" ?{}", cell.maybe);
                }
                print!("{}{text:<8} ", if number % 4 == 0 { "| " } else { "" });
                total.right += cell.right;
                total.wrong += cell.wrong;
                total.maybe += cell.maybe;
                total.off += cell.off;
            }
            println!();
        }
    }
    let count = 4 * SIZES.len() as u64 * BLURS.len() as u64 * TURNS.len() as u64 * codes;
    println!("\nof {count} codes: {} sure and right, {} sure and wrong", total.right, total.wrong);
    println!("          {} right but not sure, {} wrong and not sure", total.maybe, total.off);
}
