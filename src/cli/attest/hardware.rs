//! What is known of a TPM of this make, for people and as JSON.

use lamchat_hardware::{TpmMake, catalogue};
use serde_json::{Value, json};

/// Sentences: which TPM it is, and what its family is known for.
pub fn sentences(make: &TpmMake) -> Vec<String> {
    match catalogue() {
        Ok(catalogue) => {
            let known = catalogue.tpm(make);
            let first = format!("It is {make}: {}", known.name());
            std::iter::once(first).chain(known.sentences()).collect()
        }
        Err(error) => vec![format!("It is {make}; what is known of it cannot be read: {error}")],
    }
}

/// The same as JSON.
pub fn describe(make: &TpmMake) -> Value {
    let mut described = json!({
        "manufacturer": make.manufacturer,
        "model": make.model,
        "firmware": make.firmware.to_string(),
    });
    if let (Ok(catalogue), Value::Object(fields)) = (catalogue(), &mut described) {
        let known = catalogue.tpm(make);
        let quirk = |(quirk, bearing): &(&lamchat_hardware::Quirk, lamchat_hardware::Bearing)| {
            json!({
                "id": quirk.id,
                "bearing": bearing.word(),
                "kind": quirk.kind.word(),
                "advisories": quirk.advisories,
                "sentence": quirk.sentence,
                "advice": quirk.advice,
                "source": quirk.source,
            })
        };
        fields.insert("family".to_owned(), json!(known.family.map(|family| &family.name)));
        fields.insert("quirks".to_owned(), known.quirks.iter().map(quirk).collect());
    }
    described
}
