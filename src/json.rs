//! JSON read in one pass, without building what nobody asks for.
//!
//! Most of a review is of no interest to a decision (managed fields, status, options), and passing over it, short string
//! by short string, is the largest part of what a decision costs: serde_json takes 17 instructions for a byte of
//! `mlrun-job.json`, this reader 12. It accepts exactly what serde_json accepts, which `tests/core/json.rs` holds it to,
//! and takes what is rare from there: strings with escapes.
//!
//! It never recurses over what it skips, so that no nesting can exhaust the stack.

use std::{borrow::Cow, fmt};

use serde_json::Value;

/// A string of a document, borrowed where JSON does not escape it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Str<'a>(pub Cow<'a, str>);

/// A value of a document, checked but not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Raw<'a>(&'a str);

/// An object as its fields, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a, T>(pub Vec<(Str<'a>, T)>);

/// A place in a document.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether there are control characters in the document, which a string must not hold. Asked once: the API server's
    /// documents have none.
    controls: bool,
}

/// Why a document could not be read. Says where, and nothing of what stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} at line {line} column {column}")]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Line, from 1.
    pub line: usize,
    /// Bytes of that line up to and with the one that is wrong.
    pub column: usize,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// It is not JSON.
    Syntax,
    /// It ends in the middle.
    Eof,
    /// It is JSON, but something in it has another type than what is read.
    Type,
}

/// What can be read from a document.
pub trait Read<'a>: Sized {
    /// Reads one value.
    ///
    /// # Errors
    ///
    /// Where the document is not JSON, or the value has another type.
    fn read(json: &mut Reader<'a>) -> Result<Self, Error>;
}

/// Reads a struct from an object: the fields named, each from the member beside it; other members are passed over. Of a
/// member that is there twice the last counts, as for the API server.
macro_rules! read_fields {
    ($type:ident $(<$inner:ident>)? { $($key:literal => $field:ident),+ $(,)? }) => {
        impl<'a $(, $inner: $crate::json::Read<'a> + Default)?> $crate::json::Read<'a> for $type<'a $(, $inner)?> {
            fn read(json: &mut $crate::json::Reader<'a>) -> Result<Self, $crate::json::Error> {
                let mut read = Self::default();
                json.object(|json, key| match key.as_str() {
                    $($key => json.into(&mut read.$field),)+
                    _ => json.skip(),
                })?;
                Ok(read)
            }
        }
    };
}
pub(crate) use read_fields;

/// Reads a document that holds one value and nothing else.
///
/// # Errors
///
/// Where it is not JSON, or the value has another type.
pub fn read<'a, T: Read<'a>>(text: &'a str) -> Result<T, Error> {
    // The API server ends its documents with a newline.
    let mut json = Reader { text, at: 0, controls: has_controls(text.trim_ascii_end().as_bytes()) };
    let value = T::read(&mut json)?;
    match json.token() {
        None => Ok(value),
        Some(_) => Err(json.error(ErrorKind::Syntax)),
    }
}

impl<'a> Reader<'a> {
    /// Reads an object; `field` reads the value of every member, or [skips](Self::skip) it.
    ///
    /// # Errors
    ///
    /// Where there is no object, and whatever `field` finds.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, Str<'a>) -> Result<(), Error>) -> Result<(), Error> {
        self.open(b'{')?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            field(self, key)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Reads a list; `element` reads every element, or [skips](Self::skip) it.
    ///
    /// # Errors
    ///
    /// Where there is no list, and whatever `element` finds.
    pub fn list(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.open(b'[')?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Reads a value into `place`.
    ///
    /// # Errors
    ///
    /// As [`Read::read`].
    pub fn into<T: Read<'a>>(&mut self, place: &mut T) -> Result<(), Error> {
        *place = T::read(self)?;
        Ok(())
    }

    /// Passes over a value.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn skip(&mut self) -> Result<(), Error> {
        let mut open = Open::default();
        loop {
            match self.token() {
                Some(b'"') => self.pass_string().map(|_| ())?,
                Some(b'{') => {
                    self.at += 1;
                    if !self.takes(b'}') {
                        open.push(true);
                        self.pass_key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if !self.takes(b']') {
                        open.push(false);
                        continue;
                    }
                }
                Some(_) => self.pass_scalar()?,
                None => return Err(self.error(ErrorKind::Eof)),
            }
            // Behind a value: the next of what is open, or its end.
            while let Some(is_object) = open.last() {
                if self.takes(b',') {
                    if is_object {
                        self.pass_key()?;
                    }
                    break;
                }
                self.expect(if is_object { b'}' } else { b']' })?;
                open.pop();
            }
            if open.last().is_none() {
                return Ok(());
            }
        }
    }

    /// Whether there is a `null` here, which is passed over then.
    fn takes_null(&mut self) -> Result<bool, Error> {
        let found = self.token() == Some(b'n');
        if found {
            self.pass_scalar()?;
        }
        Ok(found)
    }

    /// The error for what stands here.
    #[cold]
    fn error(&self, kind: ErrorKind) -> Error {
        let before = self.text.as_bytes().get(..self.at).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        // Eof has no byte of its own.
        let own = usize::from(self.at < self.text.len());
        Error { kind, line, column: column + own }
    }

    /// The error for a token that is not what is wanted: of another type where it could begin a value.
    #[cold]
    fn unexpected(&self) -> Error {
        match self.text.as_bytes().get(self.at) {
            None => self.error(ErrorKind::Eof),
            Some(b'"' | b'{' | b'[' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => {
                // Malformed is worse than of the wrong type.
                let mut ahead = self.clone();
                ahead.skip().err().unwrap_or_else(|| self.error(ErrorKind::Type))
            }
            Some(_) => self.error(ErrorKind::Syntax),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The byte that the next token begins with.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    #[inline]
    fn takes(&mut self, wanted: u8) -> bool {
        let found = self.token() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Takes a byte of punctuation.
    #[inline]
    fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        if self.takes(wanted) { Ok(()) } else { Err(self.missing()) }
    }

    /// The error where a byte of punctuation should be.
    #[cold]
    fn missing(&self) -> Error {
        self.error(if self.peek().is_none() { ErrorKind::Eof } else { ErrorKind::Syntax })
    }

    /// Takes what a value of the wanted type begins with.
    fn open(&mut self, wanted: u8) -> Result<(), Error> {
        if self.takes(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn pass_key(&mut self) -> Result<(), Error> {
        if self.token() != Some(b'"') {
            return self.expect(b'"');
        }
        self.pass_string()?;
        self.expect(b':')
    }

    fn string(&mut self) -> Result<Str<'a>, Error> {
        if self.token() != Some(b'"') {
            return Err(self.unexpected());
        }
        let start = self.at;
        let escaped = self.pass_string()?;
        if !escaped {
            let text = self.text.get(start + 1..self.at - 1).unwrap_or_default();
            return Ok(Str(Cow::Borrowed(text)));
        }
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        // What is left to refuse is half a surrogate pair.
        let text = serde_json::from_str(quoted).map_err(|_| self.error(ErrorKind::Syntax))?;
        Ok(Str(Cow::Owned(text)))
    }

    /// Passes over a string, from its quote; whether it has escapes.
    #[inline]
    fn pass_string(&mut self) -> Result<bool, Error> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let end = quote_or_backslash(bytes, self.at);
        if bytes.get(end) == Some(&b'"') && !self.controls {
            self.at = end + 1;
            return Ok(false);
        }
        self.pass_unusual_string(end)
    }

    /// The same for a string with escapes, in a document with control characters, or without an end; up to `end` it has
    /// neither quote nor backslash.
    #[inline(never)]
    fn pass_unusual_string(&mut self, mut end: usize) -> Result<bool, Error> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            if self.controls && has_controls(bytes.get(self.at..end).unwrap_or_default()) {
                return Err(self.error(ErrorKind::Syntax));
            }
            self.at = end;
            match self.peek() {
                None => return Err(self.error(ErrorKind::Eof)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(_) => {
                    escaped = true;
                    self.at += 1;
                    self.pass_escape()?;
                }
            }
            end = quote_or_backslash(bytes, self.at);
        }
    }

    fn pass_escape(&mut self) -> Result<(), Error> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                        Some(_) => return Err(self.error(ErrorKind::Syntax)),
                        None => return Err(self.error(ErrorKind::Eof)),
                    }
                }
            }
            Some(_) => return Err(self.error(ErrorKind::Syntax)),
            None => return Err(self.error(ErrorKind::Eof)),
        }
        Ok(())
    }

    /// Passes over a number, `true`, `false` or `null`.
    fn pass_scalar(&mut self) -> Result<(), Error> {
        let word = match self.peek() {
            Some(b't') => "true",
            Some(b'f') => "false",
            Some(b'n') => "null",
            _ => return self.pass_number(),
        };
        for byte in word.bytes() {
            match self.peek() {
                Some(found) if found == byte => self.at += 1,
                Some(_) => return Err(self.error(ErrorKind::Syntax)),
                None => return Err(self.error(ErrorKind::Eof)),
            }
        }
        Ok(())
    }

    fn pass_number(&mut self) -> Result<(), Error> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.error(ErrorKind::Syntax));
            }
        } else {
            self.pass_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.pass_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.pass_digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn pass_digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.peek() {
            _ if self.at > start => Ok(()),
            None => Err(self.error(ErrorKind::Eof)),
            Some(_) => Err(self.error(ErrorKind::Syntax)),
        }
    }
}

/// `text` as the inside of a JSON string.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let odd = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    // Written so that many bytes are looked at at once; nearly every text stays as it is.
    if !text.bytes().fold(false, |found, byte| found | odd(byte)) {
        return Cow::Borrowed(text);
    }
    let mut quoted = Value::from(text).to_string();
    quoted.pop();
    quoted.remove(0);
    Cow::Owned(quoted)
}

/// Whether there is a control character. Written so that it is looked for in many bytes at once.
fn has_controls(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte < 0x20))
}

/// Where, from `at`, the next quote or backslash stands. Eight bytes at a time: most strings of a review end within the
/// first eight or sixteen, where `memchr` takes half as much again.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of every byte that is zero; above the first of them a borrow may set more, and only the first is asked
    // for.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let found = (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))) & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len())
}

/// What is open around a value: a bit each, set for objects.
#[derive(Default)]
struct Open {
    depth: usize,
    bits: u64,
    /// Every full sixty-four of them.
    outer: Vec<u64>,
}

impl Open {
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

impl Str<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> Raw<'a> {
    /// The JSON text, as it stands in the document.
    #[must_use]
    pub const fn get(self) -> &'a str {
        self.0
    }

    /// The string that it is; `None` where it is something else.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        read::<Str<'a>>(self.0).ok().map(|text| text.0)
    }
}

impl<'a> Read<'a> for Str<'a> {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        json.string()
    }
}

impl<'a> Read<'a> for Raw<'a> {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        json.token();
        let start = json.at;
        json.skip()?;
        Ok(Self(json.text.get(start..json.at).unwrap_or_default()))
    }
}

impl<'a> Read<'a> for bool {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        let value = match json.token() {
            Some(b't') => true,
            Some(b'f') => false,
            _ => return Err(json.unexpected()),
        };
        json.pass_scalar()?;
        Ok(value)
    }
}

impl<'a> Read<'a> for i64 {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        let Some(b'-' | b'0'..=b'9') = json.token() else { return Err(json.unexpected()) };
        let mut end = json.clone();
        end.pass_number()?;
        let text = json.text.get(json.at..end.at).unwrap_or_default();
        let number = text.parse().map_err(|_| json.error(ErrorKind::Type))?;
        *json = end;
        Ok(number)
    }
}

/// `null` is nothing: Go writes it for empty lists and maps.
impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        if json.takes_null()? { Ok(None) } else { T::read(json).map(Some) }
    }
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        let mut list = Self::new();
        json.list(|json| {
            list.push(T::read(json)?);
            Ok(())
        })?;
        Ok(list)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Fields<'a, T> {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        let mut fields = Vec::new();
        json.object(|json, key| {
            fields.push((key, T::read(json)?));
            Ok(())
        })?;
        Ok(Self(fields))
    }
}

/// Passes over a value.
impl<'a> Read<'a> for () {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        json.skip()
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "JSON is malformed",
            Self::Eof => "JSON ends too early",
            Self::Type => "a field has the wrong type or is missing",
        })
    }
}

/// JSON as text, ready to be put into a patch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// The text of `value`.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(Cow::Owned(value.to_string()))
    }

    /// Text that is JSON already.
    #[must_use]
    pub const fn text(text: Cow<'a, str>) -> Self {
        Self(text)
    }

    /// A JSON string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        let mut json = String::with_capacity(text.len() + 2);
        json.push('"');
        push_escaped(&mut json, text);
        json.push('"');
        Self(Cow::Owned(json))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the text says, for comparisons.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// Appends `text` as the inside of a JSON string.
pub fn push_escaped(json: &mut String, text: &str) {
    json.push_str(&escaped(text));
}
