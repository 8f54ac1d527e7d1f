//! Small ONNX files, written by hand, whose answers can be told from the frame.
//!
//! Each looks at a grid of cells: the mean red of a cell is the score (or one of the scores) of a box
//! that stands there, and moves it; green chooses the class. So preprocessing, batch and reading of the
//! output all show in the boxes.

#![allow(dead_code)]

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One message under construction.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u64, value: u64) -> Self {
        varint(field << 3, &mut self.0);
        varint(value, &mut self.0);
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        varint(field << 3 | 2, &mut self.0);
        varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    fn inner(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }
}

/// A dimension: a number, or a name where it is open.
#[derive(Clone, Copy)]
pub enum Dim {
    Is(u64),
    Open(&'static str),
}
use Dim::{Is, Open};

fn value(name: &str, dims: &[Dim]) -> Message {
    let mut shape = Message::default();
    for dim in dims {
        let dim = match dim {
            Is(n) => Message::default().number(1, *n),
            Open(name) => Message::default().text(2, name),
        };
        shape = shape.inner(1, &dim);
    }
    let tensor = Message::default().number(1, 1).inner(2, &shape);
    Message::default().text(1, name).inner(2, &Message::default().inner(1, &tensor))
}

fn tensor(name: &str, dims: &[u64], kind: u64, raw: &[u8]) -> Message {
    let mut message = Message::default();
    for dim in dims {
        message = message.number(1, *dim);
    }
    message.number(2, kind).text(8, name).bytes(9, raw)
}

fn floats(name: &str, dims: &[u64], values: &[f32]) -> Message {
    assert_eq!(dims.iter().product::<u64>(), values.len() as u64);
    tensor(name, dims, 1, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

fn integers(name: &str, values: &[i64]) -> Message {
    tensor(name, &[values.len() as u64], 7, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

fn attribute(name: &str, ints: &[u64]) -> Message {
    let message = Message::default().text(1, name);
    let message = match ints {
        [one] if name == "axis" => return message.number(3, *one).number(20, 2),
        _ => ints.iter().fold(message, |m, i| m.number(8, *i)),
    };
    message.number(20, 7)
}

fn node(kind: &str, inputs: &[&str], output: &str, attributes: &[Message]) -> Message {
    let mut message = Message::default();
    for input in inputs {
        message = message.text(1, input);
    }
    message = message.text(2, output).text(3, output).text(4, kind);
    attributes.iter().fold(message, |m, a| m.inner(5, a))
}

/// What may be told apart from outside.
#[derive(Clone)]
pub struct Spec {
    pub batch: Dim,
    pub height: u64,
    pub width: u64,
    /// Side of a cell.
    pub cell: u64,
    pub raw: bool,
    pub classes: u64,
    pub metadata: Vec<(&'static str, String)>,
    pub input_channels: u64,
    pub outputs: usize,
}

impl Spec {
    /// weir's own form: open batch, 100 rows of six.
    pub fn boxes_v1() -> Spec {
        let metadata =
            vec![("weir_format", "boxes-v1".to_owned()), ("names", "[\"low\", \"high\"]".to_owned())];
        Spec {
            batch: Open("N"),
            height: 320,
            width: 320,
            cell: 32,
            raw: false,
            classes: 2,
            metadata,
            input_channels: 3,
            outputs: 1,
        }
    }

    /// An Ultralytics export with suppression inside: `[1, 300, 6]`, not square.
    pub fn end_to_end() -> Spec {
        let metadata =
            vec![("names", "{0: 'low', 1: \"high's\"}".to_owned()), ("imgsz", "[240, 320]".to_owned())];
        Spec { batch: Is(1), height: 240, cell: 16, metadata, ..Spec::boxes_v1() }
    }

    /// A raw YOLOv8 or YOLO11: `[1, 4 + 3, 100]`, boxes that overlap their neighbours.
    pub fn raw() -> Spec {
        let metadata = vec![("names", "{0: 'red', 1: 'green', 2: 'blue'}".to_owned())];
        Spec { batch: Is(1), raw: true, classes: 3, metadata, ..Spec::boxes_v1() }
    }

    /// Upper left corner of a cell's box, before red moves it.
    pub fn corner(&self, cell: u64) -> (f32, f32) {
        let across = self.width / self.cell;
        ((cell % across * self.cell) as f32, (cell / across * self.cell) as f32)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let cells = self.width / self.cell * (self.height / self.cell);
        let side = self.cell as f32;
        let mut nodes = vec![
            node(
                "AveragePool",
                &["images"],
                "pooled",
                &[
                    attribute("kernel_shape", &[self.cell, self.cell]),
                    attribute("strides", &[self.cell, self.cell]),
                ],
            ),
            node("Reshape", &["pooled", "flat_shape"], "flat", &[]),
        ];
        let mut constants = vec![integers("flat_shape", &[0, 3, cells as i64]), integers("first", &[0])];
        if self.raw {
            // Centre and size: the size is that of three cells.
            let mut grid = Vec::new();
            for row in 0..4 {
                for cell in 0..cells {
                    let (x, y) = self.corner(cell);
                    grid.push([x + side / 2.0, y + side / 2.0, side * 3.0, side * 3.0][row]);
                }
            }
            constants.push(floats("grid", &[1, 4, cells], &grid));
            constants.push(floats("push", &[1, 4, 1], &[4.0, 2.0, 0.0, 0.0]));
            constants.push(floats("half", &[1], &[0.5]));
            constants.push(floats("steep", &[1], &[10.0]));
            nodes.extend([
                node("Gather", &["flat", "first"], "red", &[attribute("axis", &[1])]),
                node("Mul", &["red", "push"], "moved", &[]),
                node("Add", &["moved", "grid"], "boxes", &[]),
                node("Sub", &["flat", "half"], "centred", &[]),
                node("Mul", &["centred", "steep"], "steeper", &[]),
                node("Sigmoid", &["steeper"], "scores", &[]),
                node("Concat", &["boxes", "scores"], "output0", &[attribute("axis", &[1])]),
            ]);
        } else {
            let grid: Vec<f32> = (0..cells)
                .flat_map(|cell| {
                    let (x, y) = self.corner(cell);
                    [x, y, x + side, y + side]
                })
                .collect();
            constants.push(floats("grid", &[1, cells, 4], &grid));
            constants.push(floats("push", &[1, 1, 4], &[4.0, 2.0, 4.0, 2.0]));
            constants.push(integers("second", &[1]));
            constants.push(floats("almost_two", &[1], &[1.99]));
            nodes.extend([
                node("Transpose", &["flat"], "turned", &[attribute("perm", &[0, 2, 1])]),
                node("Gather", &["turned", "first"], "red", &[attribute("axis", &[2])]),
                node("Gather", &["turned", "second"], "green", &[attribute("axis", &[2])]),
                node("Mul", &["red", "push"], "moved", &[]),
                node("Add", &["moved", "grid"], "boxes", &[]),
                node("Mul", &["green", "almost_two"], "doubled", &[]),
                node("Floor", &["doubled"], "class", &[]),
                node("Concat", &["boxes", "red", "class"], "output0", &[attribute("axis", &[2])]),
            ]);
        }
        let mut graph = nodes.iter().fold(Message::default(), |g, n| g.inner(1, n)).text(2, "cells");
        graph = constants.iter().fold(graph, |g, c| g.inner(5, c));
        let input = [self.batch, Is(self.input_channels), Is(self.height), Is(self.width)];
        graph = graph.inner(11, &value("images", &input));
        let output = if self.raw { [self.batch, Is(7), Is(cells)] } else { [self.batch, Is(cells), Is(6)] };
        graph = graph.inner(12, &value("output0", &output));
        if self.outputs == 2 {
            graph = graph.inner(12, &value("pooled", &[self.batch, Is(3), Is(10), Is(10)]));
        }
        let opset = Message::default().text(1, "").number(2, 13);
        let mut model =
            Message::default().number(1, 8).text(2, "weir-tests").inner(7, &graph).inner(8, &opset);
        for (key, text) in &self.metadata {
            model = model.inner(14, &Message::default().text(1, key).text(2, text));
        }
        model.0
    }
}
