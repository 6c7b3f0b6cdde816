//! `lamchat token create|list|revoke`

use super::{Failure, Place, Server, output, socket};
use serde_json::{Value, json};

const TOKENS: &str = "/_lamchat/admin/v1/tokens";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Token {
    /// Make a registration token and print it.
    Create {
        /// How many accounts can be made with it; without it any number.
        #[arg(long, value_name = "NUMBER")]
        uses: Option<u64>,
        /// How long it is valid, such as 36h or 7d; without it for ever.
        #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
        valid_for: Option<u64>,
        /// The token itself, up to 64 characters of A-Z a-z 0-9 . _ ~ -; by default a random one.
        #[arg(long, value_name = "TEXT")]
        token: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// List all registration tokens.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Make a token invalid.
    Revoke {
        /// The token.
        token: String,
        #[command(flatten)]
        server: Server,
    },
}

pub fn parse_time_ms(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a whole number and s, m, h or d, such as 36h".to_owned()),
    };
    let ms = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms));
    ms.filter(|ms| *ms > 0)
        .ok_or_else(|| "write a whole number greater than 0 and s, m, h or d".to_owned())
}

/// Runs it.
pub fn run(place: &Place, command: Token) -> Result<(), Failure> {
    match command {
        Token::Create {
            uses,
            valid_for,
            token,
            server,
        } => {
            let body = json!({"uses_allowed": uses, "valid_for_ms": valid_for, "token": token});
            let answer = socket::call(place, &server, "POST", TOKENS, Some(&body))?;
            let token = answer.get("token").and_then(Value::as_str).unwrap_or_default();
            output::line(if server.json {
                answer.to_string()
            } else {
                token.to_owned()
            });
        }
        Token::List { server } => {
            let answer = socket::call(place, &server, "GET", TOKENS, None)?;
            if server.json {
                output::line(answer.to_string());
                return Ok(());
            }
            let tokens = answer
                .get("tokens")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
            output::table(
                &["TOKEN", "USED", "PENDING", "ALLOWED", "VALID UNTIL (UTC)", "MAKES"],
                &rows,
            );
        }
        Token::Revoke { token, server } => {
            let answer = socket::call(
                place,
                &server,
                "DELETE",
                &format!("{TOKENS}/{}", socket::escape(&token)),
                None,
            )?;
            output::line(if server.json {
                answer.to_string()
            } else {
                format!("{token} is no longer valid")
            });
        }
    }
    Ok(())
}

fn row(token: &Value) -> Vec<String> {
    let number = |key: &str| token.get(key).and_then(Value::as_u64);
    let admin = token.get("admin").and_then(Value::as_bool).unwrap_or(false);
    vec![
        token
            .get("token")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        number("completed").unwrap_or_default().to_string(),
        number("pending").unwrap_or_default().to_string(),
        number("uses_allowed").map_or_else(|| "any number".to_owned(), |uses| uses.to_string()),
        number("expires_ms").map_or_else(|| "for ever".to_owned(), output::time),
        if admin { "an administrator" } else { "a user" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::parse_time_ms;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time_ms("36h"), Ok(129_600_000));
        for bad in ["", "5", "h", "0d", "-1d", "99999999999999999d", "1w"] {
            assert!(parse_time_ms(bad).is_err(), "{bad}");
        }
    }
}
