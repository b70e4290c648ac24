//! HTTP requests, as far as the host allows them.
//!
//! `{url, method, headers, query, body: text or list of bytes, json, bearer, basic_auth: {username, password}}` in,
//! `{status, headers, body}` out. The answer's body is given as the request's `Accept` header wants it: JSON for
//! `application/json`, text for `text/html`, else a list of bytes.

use crate::abi::{Code, MODULE, Stop, answer, get, put};
use crate::guest::{Guest, enter, reenter};
use crate::network::{Authorization, HttpAnswer, HttpRequest};
use crate::wait;
use serde_json::{Map, Value, json};
use wasmtime::{Caller, Linker};

const CALL: &str = "http";

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        CALL,
        |mut caller: Caller<'_, Guest>, (args_ptr, args_len, ptr): (u32, u32, u32)| {
            Box::new(async move { answer(http(&mut caller, args_ptr, args_len, ptr).await) })
        },
    )?;
    Ok(())
}

async fn http(caller: &mut Caller<'_, Guest>, args_ptr: u32, args_len: u32, ptr: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let Ok(args) = serde_json::from_slice(get(memory, args_ptr, args_len)?) else {
        return Err(guest.refused(CALL, "its arguments are not JSON", Code::Json));
    };
    let (request, form) = match read(args) {
        Ok(read) => read,
        Err(reason) => return Err(guest.refused(CALL, reason, Code::Http)),
    };
    let begin = move |host: &mut dyn crate::Host, allowance| host.http(request, allowance);
    let got = wait::network(caller.data_mut(), begin).await?;
    let got = got.map_err(|error| caller.data_mut().failed(CALL, &error, Code::Http))?;
    let told = match write(got, form) {
        Ok(told) => told.to_string(),
        Err(reason) => return Err(caller.data_mut().coded(CALL, "failed", reason, Code::Http)),
    };
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, told.as_bytes())?)
}

/// How a controller gets a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Bytes,
}

fn read(args: Value) -> Result<(HttpRequest, Form), String> {
    let Value::Object(mut args) = args else { return Err("its arguments are no JSON object".into()) };
    // Absent and null are the same.
    let mut field = |name: &str| args.remove(name).filter(|value| !value.is_null());
    let url = text("url", field("url").ok_or("`url` is missing")?)?;
    let method = field("method").map_or(Ok("GET".into()), |method| text("method", method))?.to_ascii_uppercase();
    let mut headers = pairs("headers", field("headers"))?;
    let query = pairs("query", field("query"))?;
    let mut body = field("body").map(bytes).transpose()?;
    if let Some(json) = field("json") {
        if body.is_some() {
            return Err("`body` and `json` are both there; expected one of them".into());
        }
        body = Some(json.to_string().into_bytes());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.push(("content-type".into(), "application/json".into()));
        }
    }
    let bearer = field("bearer").map(|token| text("bearer", token)).transpose()?;
    let basic = field("basic_auth").map(basic).transpose()?;
    if bearer.is_some() && basic.is_some() {
        return Err("`bearer` and `basic_auth` are both there; expected one of them".into());
    }
    let authorization = bearer.map(Authorization::Bearer).or(basic);
    let accept = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("accept"));
    let form = accept.map_or(Form::Bytes, |(_, value)| form(value));
    Ok((HttpRequest { method, url, query, headers, authorization, body }, form))
}

/// By the first media type that is wanted.
fn form(accept: &str) -> Form {
    let first = accept.split([',', ';']).next().unwrap_or_default().trim();
    match first.to_ascii_lowercase().as_str() {
        "application/json" => Form::Json,
        "text/html" => Form::Text,
        _ => Form::Bytes,
    }
}

fn text(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("`{name}` is {}, expected a string", kind(&other))),
    }
}

fn pairs(name: &str, value: Option<Value>) -> Result<Vec<(String, String)>, String> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Object(fields)) => fields
            .into_iter()
            .map(|(key, value)| {
                let value = text(&format!("{name}.{key}"), value)?;
                Ok((key, value))
            })
            .collect(),
        Some(other) => Err(format!("`{name}` is {}, expected an object", kind(&other))),
    }
}

fn bytes(value: Value) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) => Ok(text.into_bytes()),
        Value::Array(_) => {
            serde_json::from_value(value).map_err(|error| format!("`body` is no list of bytes: {error}"))
        }
        other => Err(format!("`body` is {}, expected a string or a list of bytes", kind(&other))),
    }
}

fn basic(value: Value) -> Result<Authorization, String> {
    let Value::Object(mut fields) = value else {
        return Err(format!("`basic_auth` is {}, expected an object", kind(&value)));
    };
    let username = fields.remove("username").ok_or("`basic_auth.username` is missing")?;
    let password = fields.remove("password").filter(|password| !password.is_null());
    Ok(Authorization::Basic {
        username: text("basic_auth.username", username)?,
        password: password.map(|password| text("basic_auth.password", password)).transpose()?,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn write(got: HttpAnswer, form: Form) -> Result<Value, String> {
    let HttpAnswer { status, headers, body } = got;
    let body = match form {
        Form::Bytes => json!(body),
        Form::Text => Value::String(String::from_utf8_lossy(&body).into_owned()),
        Form::Json => serde_json::from_slice(&body)
            .map_err(|error| format!("the answer with status {status} was asked for as JSON and is none: {error}"))?,
    };
    let mut fields = Map::new();
    for (name, value) in headers {
        match fields.get_mut(&name) {
            // As a list of values is written in one header.
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => {
                fields.insert(name, Value::String(value));
            }
        }
    }
    Ok(json!({"status": status, "headers": fields, "body": body}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_all_its_fields() {
        let (request, form) = read(json!({
            "url": "https://a.b/c", "method": "post", "query": {"d": "e f"}, "headers": {"Accept": "application/json; q=1"},
            "json": {"g": 1}, "basic_auth": {"username": "u", "password": "p"}, "body": null,
        }))
        .unwrap();
        let expected = HttpRequest {
            method: "POST".into(),
            url: "https://a.b/c".into(),
            query: vec![("d".into(), "e f".into())],
            headers: vec![
                ("Accept".into(), "application/json; q=1".into()),
                ("content-type".into(), "application/json".into()),
            ],
            authorization: Some(Authorization::Basic { username: "u".into(), password: Some("p".into()) }),
            body: Some(br#"{"g":1}"#.to_vec()),
        };
        assert_eq!((request, form), (expected, Form::Json));
    }

    #[test]
    fn a_url_alone_is_a_get_whose_answer_is_bytes() {
        let (request, form) = read(json!({"url": "x"})).unwrap();
        assert_eq!((request.method.as_str(), request.body, form), ("GET", None, Form::Bytes));
        assert_eq!(read(json!({"url": "x", "body": "né"})).unwrap().0.body, Some("né".into()));
        assert_eq!(read(json!({"url": "x", "body": [0, 255]})).unwrap().0.body, Some(vec![0, 255]));
        let (request, form) = read(json!({"url": "x", "bearer": "t", "headers": {"accept": "text/html"}})).unwrap();
        assert_eq!((request.authorization, form), (Some(Authorization::Bearer("t".into())), Form::Text));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (args, reason) in [
            (json!([]), "its arguments are no JSON object"),
            (json!({}), "`url` is missing"),
            (json!({"url": 1}), "`url` is a number, expected a string"),
            (json!({"url": "x", "method": true}), "`method` is a boolean, expected a string"),
            (json!({"url": "x", "headers": []}), "`headers` is a list, expected an object"),
            (json!({"url": "x", "headers": {"a": {}}}), "`headers.a` is an object, expected a string"),
            (json!({"url": "x", "body": 1}), "`body` is a number, expected a string or a list of bytes"),
            (json!({"url": "x", "body": "a", "json": 1}), "`body` and `json` are both there; expected one of them"),
            (json!({"url": "x", "basic_auth": {}}), "`basic_auth.username` is missing"),
        ] {
            assert_eq!(read(args.clone()), Err(reason.into()), "{args}");
        }
        assert!(read(json!({"url": "x", "body": [256]})).unwrap_err().starts_with("`body` is no list of bytes"));
        let both = json!({"url": "x", "bearer": "t", "basic_auth": {"username": "u"}});
        assert!(read(both).unwrap_err().contains("expected one of them"));
    }

    #[test]
    fn an_answer_is_written_as_it_was_wanted() {
        let got = |body: &[u8]| HttpAnswer {
            status: 200,
            headers: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            body: body.to_vec(),
        };
        let told = write(got(b"[1]"), Form::Json).unwrap();
        assert_eq!(told, json!({"status": 200, "headers": {"a": "1, 2"}, "body": [1]}));
        assert_eq!(write(got(b"[1]"), Form::Text).unwrap()["body"], json!("[1]"));
        assert_eq!(write(got(b"ab"), Form::Bytes).unwrap()["body"], json!([97, 98]));
        assert!(write(got(b"<html>"), Form::Json).unwrap_err().contains("status 200"));
    }
}
