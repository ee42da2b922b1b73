//! What a failed request means: one sentence, and whether to try again.

use std::time::Duration;

use object_store::{
    Error,
    client::{HttpError, HttpErrorKind},
};

/// Why a request failed.
#[derive(Debug)]
pub struct Failure {
    pub problem: String,
    pub retryable: bool,
    /// The bucket is there and the object is not.
    pub is_missing_object: bool,
}

impl Failure {
    fn new(problem: String, retryable: bool) -> Self {
        Self { problem, retryable, is_missing_object: false }
    }

    /// A server that answers too slowly or not at all.
    pub fn late(limit: Duration) -> Self {
        Self::new(format!("no complete answer within {limit:?}"), true)
    }

    pub fn of(error: &Error) -> Self {
        let mut cause: &(dyn std::error::Error + 'static) = error;
        loop {
            if let Some(transport) = cause.downcast_ref::<HttpError>() {
                return Self::of_transport(transport);
            }
            match cause.source() {
                Some(next) => cause = next,
                None => return Self::of_last(&cause.to_string()),
            }
        }
    }

    /// The library keeps the type of an answer's error to itself: its text tells status and body.
    fn of_last(text: &str) -> Self {
        if text.starts_with("Received redirect") {
            let problem = "the bucket is elsewhere: AWS_REGION or AWS_ENDPOINT_URL is not the bucket's";
            return Self::new(problem.into(), false);
        }
        if let Some(body) = text.strip_prefix("Server returned error response: ") {
            return Self::of_answer(200, body);
        }
        let Some(answer) = text.strip_prefix("Server returned non-2xx status code: ") else {
            return Self::new(text.to_owned(), false);
        };
        let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
        let number = status.split(' ').next().and_then(|number| number.parse().ok());
        Self::of_answer(number.unwrap_or_default(), body)
    }

    /// Nothing of an answer is repeated but its code and message: the rest may hold what was signed.
    fn of_answer(status: u16, body: &str) -> Self {
        let (code, message) = (element(body, "Code"), element(body, "Message"));
        let busy = matches!(code, Some("SlowDown" | "InternalError" | "RequestTimeout"));
        let retryable = status >= 500 || status == 429 || status == 408 || busy;
        let problem = match (code, message) {
            (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message} (status {status})"),
            (Some(code), _) => format!("{code} (status {status})"),
            _ => format!("status {status}"),
        };
        Self { problem, retryable, is_missing_object: code == Some("NoSuchKey") }
    }

    fn of_transport(error: &HttpError) -> Self {
        let mut cause: &(dyn std::error::Error + 'static) = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let problem = match error.kind() {
            HttpErrorKind::Connect => format!("failed to connect: {cause}"),
            HttpErrorKind::Timeout => "no answer in time".to_owned(),
            HttpErrorKind::Interrupted | HttpErrorKind::Request => format!("the connection was cut: {cause}"),
            _ => format!("the connection failed: {cause}"),
        };
        Self::new(problem, true)
    }
}

/// The text of an XML element without others in it.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_code_and_message_alone() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The keys differ</Message>\
                    <StringToSign>secret</StringToSign></Error>";
        let failure = Failure::of_answer(403, body);
        assert_eq!(failure.problem, "SignatureDoesNotMatch: The keys differ (status 403)");
        assert!(!failure.retryable && !failure.is_missing_object);
    }

    #[test]
    fn only_what_may_pass_by_itself_is_worth_a_retry() {
        for (status, code, retryable) in [
            (503, "SlowDown", true),
            (500, "InternalError", true),
            (429, "TooManyRequests", true),
            (200, "InternalError", true),
            (403, "AccessDenied", false),
            (404, "NoSuchBucket", false),
        ] {
            let failure = Failure::of_answer(status, &format!("<Error><Code>{code}</Code></Error>"));
            assert_eq!((failure.problem, failure.retryable), (format!("{code} (status {status})"), retryable));
        }
        assert!(Failure::of_answer(404, "<Code>NoSuchKey</Code>").is_missing_object);
        assert!(!Failure::of_answer(404, "<html>nginx</html>").is_missing_object, "that is no S3 server");
    }

    #[test]
    fn the_librarys_texts_are_understood() {
        let failure = Failure::of_last("Server returned non-2xx status code: 503 Service Unavailable: ");
        assert_eq!((&*failure.problem, failure.retryable), ("status 503", true));
        let failure = Failure::of_last("Server returned error response: <Error><Code>SlowDown</Code></Error>");
        assert_eq!((&*failure.problem, failure.retryable), ("SlowDown (status 200)", true));
        assert!(Failure::of_last("Received redirect without LOCATION").problem.contains("AWS_REGION"));
        assert_eq!(Failure::of_last("something else").problem, "something else");
    }
}
