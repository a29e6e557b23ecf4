//! `GET /api/v1/openapi.json`: OpenAPI 3.1, made from the table of endpoints, the kinds of problems and the DTOs.

use std::sync::OnceLock;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoint::{Answer, Auth, Content, Endpoint, Header, Input, Parameter};
use crate::ingest::{FILES_FIELD, TITLE_FIELD};
use crate::listings::fields::MAX_TITLE_CHARS;
use crate::web::body::Body;
use crate::web::problem::{PROBLEM_JSON, ProblemKind};
use crate::web::router::methods_of;
use crate::web::{conditional, full, headers};

/// The document changes only with the server version. After five minutes clients revalidate by ETag.
const CACHE_FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

struct Rendered {
    bytes: Bytes,
    etag: String,
}

/// Answers with the document of these endpoints, or with 304 if the client has it. The document is made once.
pub(super) fn show(request: &HeaderMap, endpoints: &[Endpoint]) -> Response<Body> {
    static RENDERED: OnceLock<Rendered> = OnceLock::new();
    let Rendered { bytes, etag } = RENDERED.get_or_init(|| {
        let text = document(endpoints).to_string();
        Rendered { etag: format!("\"{}\"", blake3::hash(text.as_bytes()).to_hex()), bytes: text.into() }
    });
    let mut response = if conditional::if_none_match(request, etag) {
        let mut response = full(StatusCode::NOT_MODIFIED, "application/json", Bytes::new());
        response.headers_mut().remove(CONTENT_TYPE);
        response
    } else {
        full(StatusCode::OK, "application/json", bytes.clone())
    };
    response.headers_mut().insert(CACHE_CONTROL, CACHE_FIVE_MINUTES);
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Returns the whole document.
fn document(endpoints: &[Endpoint]) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        for method in methods_of(&endpoint.method) {
            path[method.as_str().to_ascii_lowercase()] = operation(endpoint, &method, &mut generator);
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem_schema());
    let common_headers = headers::COMMON.iter().chain(&headers::RATE_LIMIT);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "description": concat!(
                env!("CARGO_PKG_DESCRIPTION"),
                ". A path answers methods that it does not list here with 405 and `Allow`."
            ),
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": common_headers.map(response_header).collect::<Map<_, _>>(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    })
}

fn operation(endpoint: &Endpoint, method: &Method, generator: &mut SchemaGenerator) -> Value {
    let is_head = *method == Method::HEAD;
    let mut operation = json!({
        "operationId": endpoint.operation,
        "summary": endpoint.summary,
        "responses": responses(endpoint, is_head, generator),
    });
    if is_head {
        operation["operationId"] = endpoint.operation.replacen("get", "head", 1).into();
        operation["summary"] = format!("Answers as GET does, without the body. {}", endpoint.summary).into();
    }
    let in_path = endpoint.reads.parameters.iter().map(|it| parameter(it, "path"));
    let in_query = endpoint.reads.query.iter().map(|it| parameter(it, "query"));
    let in_headers = endpoint.reads.headers.iter().copied().flatten().map(request_header);
    let parameters: Vec<_> = in_path.chain(in_query).chain(in_headers).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Auth::Bearer(scope) = endpoint.access.auth {
        // Roles of a scheme other than OAuth2 are for the reader (OpenAPI 3.1, Security Requirement Object).
        operation["security"] = json!([{"bearer": [scope.name()]}, {}]);
    }
    match endpoint.reads.input {
        Input::Nothing => {}
        Input::Photos => operation["requestBody"] = photos_form(),
        Input::Bytes(types) => operation["requestBody"] = bytes(types),
        Input::Json { types, schema } => operation["requestBody"] = json_object(types, schema),
    }
    operation
}

fn bytes(types: &[&str]) -> Value {
    let content = types.iter().map(|media_type| ((*media_type).to_owned(), json!({})));
    json!({"required": false, "content": content.collect::<Map<_, _>>()})
}

fn json_object(types: &[&str], schema: fn() -> Value) -> Value {
    let content = types.iter().map(|media_type| ((*media_type).to_owned(), json!({"schema": schema()})));
    json!({"required": true, "content": content.collect::<Map<_, _>>()})
}

fn parameter(parameter: &Parameter, place: &str) -> Value {
    json!({
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.meaning,
        "schema": (parameter.schema)(),
    })
}

fn request_header(&(name, meaning): &Header) -> Value {
    json!({"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}})
}

fn photos_form() -> Value {
    json!({
        "required": true,
        "content": {"multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FILES_FIELD],
                "properties": {
                    FILES_FIELD: {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                        "description": "The photos, in the order of the draft. \
                            The server says how many and how large they may be in the detail of a refusal.",
                    },
                    TITLE_FIELD: {
                        "type": "string",
                        "maxLength": MAX_TITLE_CHARS,
                        "description": "The title of the draft.",
                        "examples": ["Blue coat"],
                    },
                },
            },
            "encoding": {FILES_FIELD: {"contentType": "image/*"}},
        }},
    })
}

fn responses(endpoint: &Endpoint, is_head: bool, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let limits: &[Header] = if endpoint.access.limits.is_empty() { &[] } else { &headers::RATE_LIMIT };
    let with_headers = |own: &[&[Header]]| -> Map<String, Value> {
        let common = headers::COMMON.iter().chain(limits);
        let common = common
            .map(|&(name, _)| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")})));
        common.chain(own.iter().copied().flatten().map(response_header)).collect()
    };
    let mut responses = Map::new();
    for Answer { status, meaning, headers, content } in endpoint.answers {
        let mut response = json!({"description": meaning, "headers": with_headers(headers)});
        match content {
            Content::Json(schema) if !is_head => {
                response["content"] = json!({"application/json": {"schema": schema(generator)}});
            }
            Content::Other(media_types) if !is_head => {
                response["content"] = media_types.iter().map(|of| ((*of).to_owned(), json!({}))).collect();
            }
            Content::Json(_) | Content::Other(_) | Content::Nothing => {}
        }
        responses.insert(status.as_str().to_owned(), response);
    }
    for kinds in endpoint.kinds().chunk_by(|one, other| one.status() == other.status()) {
        let status = kinds[0].status();
        let own: &[Header] = match status {
            StatusCode::UNAUTHORIZED => &[("WWW-Authenticate", "The challenge `Bearer`.")],
            StatusCode::FORBIDDEN if kinds.contains(&ProblemKind::InsufficientScope) => {
                &[("WWW-Authenticate", "The challenge `Bearer`, with the scope that the token lacks.")]
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                &[("Retry-After", "Seconds to wait before the next try.")]
            }
            StatusCode::RANGE_NOT_SATISFIABLE => &[("Content-Range", "The length of the photo.")],
            _ => &[],
        };
        let mut response = json!({"description": meanings(kinds), "headers": with_headers(&[own])});
        if !is_head {
            response["content"] = json!({PROBLEM_JSON: problem_content(kinds)});
        }
        responses.insert(status.as_str().to_owned(), response);
    }
    responses
}

fn response_header(&(name, meaning): &Header) -> (String, Value) {
    (name.to_owned(), json!({"description": meaning, "schema": {"type": "string"}}))
}

fn meanings(kinds: &[ProblemKind]) -> String {
    let lines = kinds.iter().map(|kind| format!("`{}`: {}", kind.slug(), kind.meaning()));
    lines.collect::<Vec<_>>().join("\n")
}

fn problem_content(kinds: &[ProblemKind]) -> Value {
    let types: Vec<_> = kinds.iter().map(|kind| kind.uri()).collect();
    let example = |kind: &ProblemKind| {
        let value = json!({
            "type": kind.uri(),
            "title": kind.title(),
            "status": kind.status().as_u16(),
            "detail": kind.meaning(),
            "request_id": "0193ab5e-7c1d-7e54-a8a2-4f0d9e3b1c77",
        });
        (kind.slug().to_owned(), json!({"value": value}))
    };
    json!({
        "schema": {
            "$ref": "#/components/schemas/Problem",
            "properties": {"type": {"enum": types}, "status": {"const": kinds[0].status().as_u16()}},
        },
        "examples": kinds.iter().map(example).collect::<Map<_, _>>(),
    })
}

/// Returns the schema of what [`Problem`](crate::web::problem::Problem) writes.
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "The stable name of the problem."},
            "title": {"type": "string", "description": "The reason phrase of the status."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "One sentence for the developer of the client."},
            "request_id": {"type": "string", "description": "The id of the request in the server's log."},
            "file_index": {
                "type": "integer",
                "minimum": 0,
                "description": "Index of the rejected photo in the form, or of its URL, counted from 0.",
            },
            "filename": {
                "type": ["string", "null"],
                "description": "File name of the rejected photo, if the form has one.",
            },
            "pointer": {
                "type": "string",
                "format": "json-pointer",
                "description": "JSON pointer (RFC 6901) to the member of the body that is wrong.",
            },
            "parameter": {"type": "string", "description": "The parameter of the query that is wrong."},
            "down": {
                "type": "array",
                "items": {"enum": ["catalog", "disk", "inodes", "media"]},
                "description": "The parts of the server that do not work.",
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::endpoints::ENDPOINTS;

    #[test]
    fn document_has_each_endpoint_and_each_kind_but_405_and_abandoned() {
        let document = document(&ENDPOINTS);
        let mut operations = BTreeSet::new();
        for endpoint in &ENDPOINTS {
            for method in methods_of(&endpoint.method) {
                let operation = &document["paths"][endpoint.path][method.as_str().to_ascii_lowercase()];
                let id = operation["operationId"].as_str().unwrap();
                assert!(operations.insert(id.to_owned()), "{id} is there twice");
            }
        }
        let text = document.to_string();
        for kind in ProblemKind::ALL {
            let is_there = text.contains(&format!("\"{}\"", kind.uri()));
            let is_left_out = matches!(kind, ProblemKind::MethodNotAllowed | ProblemKind::Abandoned);
            assert_eq!(is_there, !is_left_out, "{}", kind.slug());
        }
    }

    #[test]
    fn each_reference_has_its_schema() {
        let document = document(&ENDPOINTS);
        let text = document.to_string();
        for (_, rest) in text.match_indices("\"$ref\":\"").map(|(at, start)| text.split_at(at + start.len()))
        {
            let pointer = rest.split('"').next().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
