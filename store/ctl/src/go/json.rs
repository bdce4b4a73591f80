//! JSON as Go's `encoding/json` writes etcd's structs: fields in the order of the struct, zero values left out, bytes in
//! base64, integers as numbers.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// An object under construction. The plain methods leave a zero value out, as Go's `omitempty` does.
#[derive(Debug, Default)]
pub struct Object {
    body: String,
}

impl Object {
    pub fn new() -> Object {
        Object::default()
    }

    /// A member whatever its value; `json` is already JSON.
    pub fn always(mut self, name: &str, json: impl Display) -> Object {
        let comma = if self.body.is_empty() { "" } else { "," };
        self.body.push_str(&format!("{comma}\"{name}\":{json}"));
        self
    }

    /// A member if there is one.
    pub fn optional(self, name: &str, json: Option<impl Display>) -> Object {
        match json {
            Some(json) => self.always(name, json),
            None => self,
        }
    }

    pub fn number<T: Display + Default + PartialEq>(self, name: &str, value: T) -> Object {
        let value = (value != T::default()).then_some(value);
        self.optional(name, value)
    }

    pub fn boolean(self, name: &str, value: bool) -> Object {
        self.optional(name, value.then_some(true))
    }

    pub fn text(self, name: &str, value: &str) -> Object {
        self.optional(name, (!value.is_empty()).then(|| string(value)))
    }

    pub fn bytes(self, name: &str, value: &[u8]) -> Object {
        self.optional(name, (!value.is_empty()).then(|| base64(value)))
    }

    /// An array of members that are already JSON.
    pub fn list(self, name: &str, items: impl IntoIterator<Item = String>) -> Object {
        let items: Vec<String> = items.into_iter().collect();
        self.optional(name, (!items.is_empty()).then(|| array(items)))
    }

    pub fn finish(self) -> String {
        format!("{{{}}}", self.body)
    }
}

/// `[a,b]` of values that are already JSON.
pub fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// Bytes as a quoted base64 string.
pub fn base64(bytes: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(bytes))
}

/// A string with Go's escapes, which include those that make JSON safe inside HTML.
pub fn string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_values_are_left_out_and_the_order_stays() {
        let json = Object::new()
            .number("b", 2u64)
            .number("a", 0i64)
            .text("t", "")
            .bytes("k", b"key")
            .bytes("v", b"")
            .boolean("f", false)
            .boolean("on", true)
            .list("none", [])
            .list("some", ["1".into(), "2".into()])
            .always("error", string(""))
            .finish();
        assert_eq!(json, r#"{"b":2,"k":"a2V5","on":true,"some":[1,2],"error":""}"#);
        assert_eq!(Object::new().finish(), "{}");
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(string("a\"b\\<\u{1}é\n"), r#""a\"b\\\u003c\u0001é\n""#);
    }
}
