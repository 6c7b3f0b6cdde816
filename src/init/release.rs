//! What the image says about itself: `/etc/lamchat/release.json`, covered by the image's signature.

use serde_json::Value;

const FILE: &str = "/etc/lamchat/release.json";

/// The release that runs.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// When it was built, in seconds since 1970; the clock never starts before.
    pub built_at: u64,
}

/// Reads the file; an image without it (a test's) has no floor.
pub fn read() -> Release {
    std::fs::read_to_string(FILE).map_or_else(|_| Release::default(), |text| parse(&text))
}

fn parse(text: &str) -> Release {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    Release {
        built_at: value.get("built_at").and_then(Value::as_u64).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_found() {
        let release = super::parse("{\"version\":\"0.2.0\",\"built_at\":5}");
        assert_eq!(release.built_at, 5);
        assert_eq!(super::parse("[").built_at, 0);
    }
}
