//! The power button: ACPI's, as an input device of the kernel's.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Linux, include/uapi/linux/input-event-codes.h.
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// Linux, include/uapi/linux/input.h: on 64-bit machines two 8-byte numbers of time, type, code and value.
const EVENT_BYTES: usize = 24;
/// Most words of a device's bitmap of keys.
const WORDS_MAX: usize = 64;

/// Whether the input device of this name in /sys/class/input (`event3`) has a power button.
pub fn has_power_button(name: &str) -> bool {
    let path = Path::new("/sys/class/input").join(name).join("device/capabilities/key");
    std::fs::read_to_string(path).is_ok_and(|bitmap| has_key(&bitmap, KEY_POWER))
}

/// sysfs: 64-bit words in hexadecimal, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let (word, bit) = (usize::from(key / 64), key % 64);
    let words = bitmap.split_whitespace().rev().take(WORDS_MAX).nth(word);
    words
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> bit & 1 == 1)
}

/// Waits until the button of /dev/input/NAME is pressed. An error also when the device goes away.
pub fn wait(name: &str) -> std::io::Result<()> {
    let mut device = BufReader::with_capacity(EVENT_BYTES * 16, File::open(Path::new("/dev/input").join(name))?);
    let mut event = [0; EVENT_BYTES];
    loop {
        device.read_exact(&mut event)?;
        if is_press(&event) {
            return Ok(());
        }
    }
}

fn is_press(event: &[u8; EVENT_BYTES]) -> bool {
    let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event;
    u16::from_ne_bytes([t0, t1]) == EV_KEY
        && u16::from_ne_bytes([c0, c1]) == KEY_POWER
        && i32::from_ne_bytes([v0, v1, v2, v3]) == 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn bitmaps_are_read_from_their_end() {
        assert!(super::has_key("10000000000000 0\n", 116));
        assert!(!super::has_key("10000000000000\n", 116));
        assert!(!super::has_key("x y", 116));
        assert!(super::has_key("1", 0));
    }

    #[test]
    fn only_a_press_counts() {
        let mut event = [0; 24];
        let fields = [1u16, 116].iter().flat_map(|field| field.to_ne_bytes());
        for (at, byte) in event.iter_mut().skip(16).zip(fields.chain(1i32.to_ne_bytes())) {
            *at = byte;
        }
        assert!(super::is_press(&event));
        let mut released = event;
        if let Some(byte) = released.get_mut(20) {
            *byte = 0;
        }
        assert!(!super::is_press(&released));
    }
}
