//! Searching the texts of events (`POST /search`).
//!
//! There is no index: a search reads events back from the newest, and stops after [`LOOKED_AT_MAX`] of them; the next page
//! goes on where it stopped. What is encrypted cannot be searched, so encrypted rooms are left out as the specification
//! says ("The search will not include rooms that are end to end encrypted").

use crate::event::{EventRow, Flags};
use crate::filter::EventFilter;
use crate::log;
use crate::newest_first::{NewestFirst, Stretch};
use crate::timeline::{BadToken, Entry};
use crate::view::View;
use lamchat_base::RoomNum;
use lamchat_store::{Epoch, Read, ReadError};
use std::borrow::Cow;

/// Most events that one page looks at.
pub const LOOKED_AT_MAX: usize = 20_000;
/// Longest search term in bytes.
pub const TERM_BYTES_MAX: usize = 512;
/// Most words of a search term.
pub const WORDS_MAX: usize = 16;
/// Most occurrences of a word that count for the rank.
const OCCURRENCES_MAX: usize = 8;

/// Which texts are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// `content.body` of messages.
    pub body: bool,
    /// `content.name` of room names.
    pub name: bool,
    /// `content.topic` of topics, and the plain text of `m.topic`.
    pub topic: bool,
}

/// The words of a search term: in small letters, without repetitions, at most [`WORDS_MAX`].
///
/// A text is found if it contains all of them; they need not be whole words, for not all scripts separate those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// From what somebody typed.
    pub fn new(term: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        for word in term.split_whitespace() {
            let word = word.to_lowercase();
            if words.len() < WORDS_MAX && !words.contains(&word) {
                words.push(word);
            }
        }
        Self(words)
    }

    /// The words.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// How well a text fits, above 0; `None` if it does not contain all words, or there are none.
    ///
    /// Whole words count twice, and what stands in a short text counts more than in a long one.
    pub fn rank(&self, text: &str) -> Option<f64> {
        let text = text.to_lowercase();
        let mut points = 0;
        for word in &self.0 {
            let occurrences = text.match_indices(word.as_str()).take(OCCURRENCES_MAX);
            let found: u32 = occurrences
                .map(|(at, _)| {
                    let before = text.get(..at).and_then(|text| text.chars().next_back());
                    let after = text.get(at + word.len()..).and_then(|text| text.chars().next());
                    let is_inside = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
                    if is_inside(before) || is_inside(after) { 1 } else { 2 }
                })
                .sum();
            if found == 0 {
                return None;
            }
            points += found;
        }
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        (points > 0).then(|| f64::from(points) / f64::from(length.max(2)).log2())
    }
}

/// Where a page begins. As text `f{epoch}_{upto}_{skip}`, with `_r{room}` or `_s{user}` for a page of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The newest order that is looked at.
    pub upto: u64,
    /// Results that were shown of what is found from there.
    pub skip: usize,
    /// The group that the page is of.
    pub group: Option<Group>,
}

/// Results are grouped by one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// A room, by its number.
    Room(u32),
    /// A sender, by the user's number.
    Sender(u32),
}

impl Token {
    /// As text.
    pub fn text(&self, epoch: Epoch) -> String {
        let text = format!("f{}_{}_{}", epoch.0, self.upto, self.skip);
        match self.group {
            None => text,
            Some(Group::Room(room)) => format!("{text}_r{room}"),
            Some(Group::Sender(user)) => format!("{text}_s{user}"),
        }
    }

    /// From text.
    pub fn parse(text: &str, epoch: Epoch) -> Result<Self, BadToken> {
        fn number<T: std::str::FromStr>(text: &str) -> Result<T, BadToken> {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| is_number).ok_or(BadToken)
        }
        let parts: Vec<&str> = text.strip_prefix('f').ok_or(BadToken)?.splitn(5, '_').collect();
        let (of, upto, skip, group) = match parts.as_slice() {
            [of, upto, skip] => (of, upto, skip, None),
            [of, upto, skip, group] => (of, upto, skip, Some(*group)),
            _ => return Err(BadToken),
        };
        if number::<u32>(of)? != epoch.0 {
            return Err(BadToken);
        }
        let group = match group.map(|group| group.split_at_checked(1)) {
            None => None,
            Some(Some(("r", room))) => Some(Group::Room(number(room)?)),
            Some(Some(("s", user))) => Some(Group::Sender(number(user)?)),
            Some(_) => return Err(BadToken),
        };
        Ok(Self {
            upto: number(upto)?,
            skip: number(skip)?,
            group,
        })
    }
}

/// A room that is searched, as the reader sees it.
pub struct Searched<'v> {
    /// What part of it.
    pub stretch: Stretch,
    /// The reader's view.
    pub view: View<'v>,
}

/// What is looked for.
#[derive(Debug)]
pub struct Search<'s> {
    /// The words.
    pub words: &'s Words,
    /// Where.
    pub keys: Keys,
    /// Which events, rooms aside.
    pub filter: &'s EventFilter,
    /// Only events of this sender.
    pub sender: Option<&'s str>,
    /// Enough results, if the newest will do. `None`: all that are found among those looked at.
    pub enough: Option<usize>,
}

/// An event that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its room.
    pub room: RoomNum,
    /// The event.
    pub entry: Entry,
    /// How well it fits.
    pub rank: f64,
}

/// What was found, newest first.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The events.
    pub hits: Vec<Hit>,
    /// The order from which the search goes on; `None` at the end.
    pub next: Option<u64>,
}

/// Searches rooms back from the newest event. Blocks for as long as reading [`LOOKED_AT_MAX`] events takes.
pub fn search(read: &dyn Read, rooms: &mut [Searched<'_>], search: &Search<'_>) -> Result<Found, ReadError> {
    let mut walk = NewestFirst::new(read, rooms.iter().map(|room| room.stretch))?;
    let mut found = Found::default();
    let mut looked_at = 0;
    while let Some(next) = walk.next_order() {
        if looked_at == LOOKED_AT_MAX || search.enough.is_some_and(|enough| found.hits.len() >= enough) {
            found.next = Some(next);
            break;
        }
        looked_at += 1;
        let Some(place) = walk.step()? else { break };
        let bytes = log::known_event(read, place.position)?;
        let row = EventRow::decode(&bytes)?;
        let Some(rank) = rank(&row, search) else { continue };
        let Some(room) = rooms.get_mut(place.index) else { break };
        if room.view.is_visible(place.position, &row)? {
            let entry = Entry {
                order: place.order,
                position: place.position,
                bytes,
            };
            found.hits.push(Hit {
                room: place.room,
                entry,
                rank,
            });
        }
    }
    Ok(found)
}

fn rank(row: &EventRow<'_>, search: &Search<'_>) -> Option<f64> {
    if row.flags.contains(Flags::REDACTED)
        || search.sender.is_some_and(|sender| sender != row.sender)
        || !(search.filter.is_all() || search.filter.allows(row))
    {
        return None;
    }
    texts(row, search.keys)
        .iter()
        .filter_map(|text| search.words.rank(text))
        .reduce(f64::max)
}

/// The texts of an event that are searched.
fn texts<'a>(row: &EventRow<'a>, keys: Keys) -> Vec<Cow<'a, str>> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        body: Cow<'a, str>,
    }
    #[derive(serde::Deserialize)]
    struct Name<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let one = |text: Option<Cow<'a, str>>| text.into_iter().collect();
    match (row.event_type, row.state_key) {
        ("m.room.message", None) if keys.body => one(serde_json::from_str::<Body<'a>>(row.content)
            .ok()
            .map(|content| content.body)),
        ("m.room.name", Some(_)) if keys.name => one(serde_json::from_str::<Name<'a>>(row.content)
            .ok()
            .map(|content| content.name)),
        ("m.room.topic", Some(_)) if keys.topic => topics(row.content),
        _ => Vec::new(),
    }
}

/// "In m.room.topic, content.topic as well as the body of the text/plain representation in content['m.topic']."
fn topics(content: &str) -> Vec<Cow<'static, str>> {
    let content: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    let mut texts = Vec::new();
    if let Some(topic) = content.get("topic").and_then(|topic| topic.as_str()) {
        texts.push(Cow::Owned(topic.to_owned()));
    }
    let representations = content.pointer("/m.topic/m.text").and_then(|text| text.as_array());
    for text in representations.into_iter().flatten() {
        let kind = text.get("mimetype").and_then(|kind| kind.as_str());
        if let (None | Some("text/plain"), Some(body)) = (kind, text.get("body").and_then(|body| body.as_str())) {
            texts.push(Cow::Owned(body.to_owned()));
            break;
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Group, Token, WORDS_MAX, Words, topics};
    use crate::timeline::BadToken;
    use lamchat_store::Epoch;

    #[test]
    fn all_words_must_be_there() {
        let words = Words::new("  Martians  MEN martians ");
        assert_eq!(words.as_slice(), ["martians", "men"]);
        assert!(words.rank("Men are from Earth, Martians are not").is_some());
        assert!(words.rank("martian women").is_none());
        assert!(Words::new(" ").rank("anything").is_none());
        assert!(Words::new("火星").rank("这是火星人").is_some());
        let many: String = (0..100).map(|number| format!("w{number} ")).collect();
        assert_eq!(Words::new(&many).as_slice().len(), WORDS_MAX);
    }

    #[test]
    fn whole_words_and_short_texts_fit_better() {
        let words = Words::new("cat");
        let rank = |text| words.rank(text).unwrap();
        assert!(rank("a cat sat") > rank("concatenate"));
        assert!(rank("cat") > rank("a cat among very many other words that are no cats at all, none"));
        assert!(rank("cat cat") > rank("cat dog"));
        assert!(rank("İcat cat").is_finite());
    }

    #[test]
    fn tokens_come_back_and_foreign_ones_are_refused() {
        let epoch = Epoch(3);
        for group in [None, Some(Group::Room(7)), Some(Group::Sender(9))] {
            let token = Token {
                upto: 1 << 62,
                skip: 20,
                group,
            };
            assert_eq!(Token::parse(&token.text(epoch), epoch), Ok(token));
        }
        for text in [
            "",
            "f",
            "f3_1",
            "f3_1_",
            "f2_1_1",
            "f3_+1_1",
            "f3_1_1_",
            "f3_1_1_x1",
            "f3_1_1_r",
            "f3_1_1_r1_1",
            "f3_1_1_ü",
            "f3_1_99999999999999999999",
        ] {
            assert_eq!(Token::parse(text, epoch), Err(BadToken), "{text}");
        }
    }

    #[test]
    fn topics_have_a_plain_representation() {
        let content = r#"{"topic":"a","m.topic":{"m.text":[{"mimetype":"text/html","body":"<b>"},{"body":"plain"}]}}"#;
        assert_eq!(topics(content), ["a", "plain"]);
        assert!(topics(r#"{"topic":7,"m.topic":[]}"#).is_empty());
    }
}
