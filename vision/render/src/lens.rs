//! Light, blur and noise: what a camera does to a picture.
//!
//! In:   8-bit RGB, a light, a lens.
//! Out:  8-bit RGB of the same size.

use crate::dice::scramble;
use crate::scene::{Lens, Light};

/// Applies light, then blur, then motion, then noise.
pub fn expose(rgb: &mut [u8], width: usize, height: usize, light: &Light, lens: &Lens, seed: u64) {
    let mut planes = lit(rgb, width, height, light);
    let unit = width.min(height) as f32 / 320.0;
    let sigma = lens.blur * unit;
    if sigma > 0.25 {
        blur(&mut planes, width, height, sigma);
    }
    let length = lens.motion * unit;
    if length > 1.0 {
        smear(&mut planes, width, height, length, lens.motion_angle);
    }
    let mut state = seed;
    for (pixel, plane) in rgb.chunks_exact_mut(3).zip(&planes) {
        // Two draws of 64 bits: per channel the sum of five bytes, near enough to a normal curve.
        let (a, b) = (scramble(&mut state).to_le_bytes(), scramble(&mut state).to_le_bytes());
        for channel in 0..3 {
            let bytes = match channel {
                0 => [a[0], a[1], a[2], a[3], a[4]],
                1 => [a[5], a[6], a[7], b[0], b[1]],
                _ => [b[2], b[3], b[4], b[5], b[6]],
            };
            let sum: f32 = bytes.iter().map(|v| f32::from(*v)).sum();
            // Five bytes have mean 637.5 and standard deviation 165.2.
            let noise = (sum - 637.5) / 165.2 * lens.noise;
            pixel[channel] = (plane[channel] + noise + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
}

fn lit(rgb: &[u8], width: usize, height: usize, light: &Light) -> Vec<[f32; 3]> {
    let gains = [1.0 + light.warmth, 1.0, 1.0 - light.warmth];
    let curve: Vec<f32> =
        (0..256).map(|v| 255.0 * libm::powf(v as f32 / 255.0, light.gamma) * light.gain).collect();
    let (s, c) = libm::sincosf(light.direction);
    let short = width.min(height) as f32;
    let mut out = Vec::with_capacity(width * height);
    for (row, line) in rgb.chunks_exact(width * 3).enumerate() {
        let y = (row as f32 + 0.5 - height as f32 / 2.0) / short;
        for (column, pixel) in line.chunks_exact(3).enumerate() {
            let x = (column as f32 + 0.5 - width as f32 / 2.0) / short;
            let gain = (1.0 + light.slope * (x * c + y * s)).max(0.0);
            let shine = light.glare.map_or(0.0, |g| {
                let (dx, dy) = ((x - g.x) / g.radius, (y - g.y) / g.radius);
                let fall = (1.0 - (dx * dx + dy * dy)).max(0.0);
                g.strength * fall * fall
            });
            out.push([0, 1, 2].map(|i| {
                let v = curve[usize::from(pixel[i])] * gain * gains[i];
                (v + (255.0 - v.min(255.0)) * shine).clamp(0.0, 255.0)
            }));
        }
    }
    out
}

/// A separable Gaussian; the edge's pixels go on beyond it.
fn blur(pixels: &mut [[f32; 3]], width: usize, height: usize, sigma: f32) {
    let reach = libm::ceilf(sigma * 2.5).max(1.0) as usize;
    let weights: Vec<f32> =
        (0..=reach).map(|i| libm::expf(-((i * i) as f32) / (2.0 * sigma * sigma))).collect();
    let total = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    let weights: Vec<f32> = weights.iter().map(|w| w / total).collect();
    let mut next = vec![[0.0_f32; 3]; pixels.len()];
    for row in 0..height {
        let line = &pixels[row * width..(row + 1) * width];
        for column in 0..width {
            let mut sum = line[column].map(|v| v * weights[0]);
            for (i, w) in weights.iter().enumerate().skip(1) {
                let (a, b) = (&line[column.saturating_sub(i)], &line[(column + i).min(width - 1)]);
                for k in 0..3 {
                    sum[k] += w * (a[k] + b[k]);
                }
            }
            next[row * width + column] = sum;
        }
    }
    for row in 0..height {
        let out = &mut pixels[row * width..(row + 1) * width];
        let line = |r: usize| &next[r * width..(r + 1) * width];
        for (to, from) in out.iter_mut().zip(line(row)) {
            *to = from.map(|v| v * weights[0]);
        }
        for (i, w) in weights.iter().enumerate().skip(1) {
            let (above, below) = (line(row.saturating_sub(i)), line((row + i).min(height - 1)));
            for ((to, a), b) in out.iter_mut().zip(above).zip(below) {
                for k in 0..3 {
                    to[k] += w * (a[k] + b[k]);
                }
            }
        }
    }
}

/// The mean along a line `length` pixels long.
fn smear(pixels: &mut Vec<[f32; 3]>, width: usize, height: usize, length: f32, angle: f32) {
    let (s, c) = libm::sincosf(angle);
    let count = libm::ceilf(length).clamp(2.0, 64.0) as usize;
    let steps: Vec<(isize, isize)> = (0..count)
        .map(|i| {
            let t = (i as f32 / (count - 1) as f32 - 0.5) * length;
            (libm::roundf(t * c) as isize, libm::roundf(t * s) as isize)
        })
        .collect();
    let share = 1.0 / count as f32;
    let mut next = vec![[0.0_f32; 3]; pixels.len()];
    for row in 0..height {
        for column in 0..width {
            let mut sum = [0.0_f32; 3];
            for (dx, dy) in &steps {
                let x = column.saturating_add_signed(*dx).min(width - 1);
                let y = row.saturating_add_signed(*dy).min(height - 1);
                let p = &pixels[y * width + x];
                for k in 0..3 {
                    sum[k] += p[k];
                }
            }
            next[row * width + column] = sum.map(|v| v * share);
        }
    }
    *pixels = next;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(rgb: &[u8]) -> f32 {
        rgb.iter().map(|v| f32::from(*v)).sum::<f32>() / rgb.len() as f32
    }

    #[test]
    fn an_even_light_and_a_sharp_lens_change_nothing() {
        let mut rgb: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 7 % 256) as u8).collect();
        let before = rgb.clone();
        expose(&mut rgb, 32, 32, &Light::EVEN, &Lens::SHARP, 1);
        assert_eq!(rgb, before);
    }

    #[test]
    fn blur_and_motion_keep_brightness_and_spread_a_point() {
        for lens in
            [Lens { blur: 2.0, ..Lens::SHARP }, Lens { motion: 9.0, motion_angle: 0.6, ..Lens::SHARP }]
        {
            let mut rgb = vec![0_u8; 320 * 320 * 3];
            for row in 150..170 {
                rgb[(row * 320 + 150) * 3..(row * 320 + 170) * 3].fill(200);
            }
            let before = mean(&rgb);
            expose(&mut rgb, 320, 320, &Light::EVEN, &lens, 1);
            assert!((mean(&rgb) - before).abs() < 0.02 * before.max(1.0), "{lens:?}");
            let edge = rgb[(160 * 320 + 149) * 3];
            assert!(edge > 20 && edge < 180, "{lens:?}: {edge}");
        }
    }

    #[test]
    fn noise_has_the_asked_deviation() {
        let mut rgb = vec![128_u8; 320 * 320 * 3];
        expose(&mut rgb, 320, 320, &Light::EVEN, &Lens { noise: 8.0, ..Lens::SHARP }, 9);
        let m = mean(&rgb);
        let var = rgb.iter().map(|v| (f32::from(*v) - m).powi(2)).sum::<f32>() / rgb.len() as f32;
        assert!((m - 128.0).abs() < 0.2 && (7.5..8.5).contains(&var.sqrt()), "{m} {var}");
    }

    #[test]
    fn a_dark_gamma_darkens_and_glare_brightens() {
        let dark = Light { gamma: 1.6, gain: 0.8, ..Light::EVEN };
        let shine = crate::scene::Glare { x: 0.0, y: 0.0, radius: 0.3, strength: 0.9 };
        for (light, brighter) in [(dark, false), (Light { glare: Some(shine), ..Light::EVEN }, true)] {
            let mut rgb = vec![120_u8; 64 * 64 * 3];
            expose(&mut rgb, 64, 64, &light, &Lens::SHARP, 2);
            assert_eq!(mean(&rgb) > 120.0, brighter);
        }
    }
}
