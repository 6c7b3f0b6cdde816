//! What a box's answer says of its next start: whether it waits for somebody at the console, who may be far away.

use super::output;
use serde_json::Value;

/// The sentence for whoever is about to have it start again; `None`: it opens its keys by itself, or does not say (an older
/// release, or no box).
pub fn warning(answer: &Value) -> Option<String> {
    let sentence = answer.pointer("/next_start/sentence").and_then(Value::as_str)?;
    let plain: String = sentence.chars().filter(|letter| !letter.is_control()).collect();
    Some(format!("Note: {plain}."))
}

/// Says it on standard error: what a program reads is the answer's JSON.
pub fn note(answer: &Value) {
    if let Some(warning) = warning(answer) {
        output::note(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::warning;
    use serde_json::json;

    #[test]
    fn only_a_start_that_may_wait_is_worth_a_word() {
        let told = json!({"next_start": {"waits": true, "for": "tpm-pin", "sentence": "it waits\u{1b}[2J"}});
        assert_eq!(warning(&told).as_deref(), Some("Note: it waits[2J."));
        for silent in [
            json!({"next_start": {"waits": false, "for": null, "sentence": null}}),
            json!({"next_start": null}),
            json!({}),
        ] {
            assert_eq!(warning(&silent), None, "{silent}");
        }
    }
}
