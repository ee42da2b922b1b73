//! From a location and the environment to a connection.

use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use url::{Host, Url};

use super::Patience;

/// What a connection is made from.
pub struct Settings {
    pub prefix: Path,
    pub endpoint: String,
    /// What no error may repeat.
    pub secrets: Vec<String>,
    builder: AmazonS3Builder,
    route: Route,
}

/// How an endpoint is reached.
#[derive(Clone, Copy)]
struct Route {
    is_here: bool,
    is_encrypted: bool,
}

impl Settings {
    /// # Errors
    /// What is wrong.
    pub fn read(location: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let (bucket, prefix) = bucket_and_prefix(location)?;
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables {
            if !name.starts_with("AWS_") || value.is_empty() {
                continue;
            }
            match name.to_ascii_lowercase().parse() {
                // How long to wait is decided here.
                Ok(AmazonS3ConfigKey::Client(key)) if key != ClientConfigKey::AllowHttp => {}
                Ok(key) => builder = builder.with_config(key, value),
                // Another program's.
                Err(_) => {}
            }
        }
        let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
        expect_credentials(value)?;
        let region = value(AmazonS3ConfigKey::Region).or_else(|| value(AmazonS3ConfigKey::DefaultRegion));
        let endpoint = value(AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| value(AmazonS3ConfigKey::Endpoint))
            .unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", region.as_deref().unwrap_or("us-east-1")));
        let allow_http = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
        let route = route(&endpoint, allow_http.is_some_and(|text| text.eq_ignore_ascii_case("true")))?;
        let secrets = [AmazonS3ConfigKey::SecretAccessKey, AmazonS3ConfigKey::Token, AmazonS3ConfigKey::AccessKeyId];
        let secrets = secrets.into_iter().filter_map(value).filter(|secret| !secret.is_empty()).collect();
        let builder = builder.with_bucket_name(bucket);
        Ok(Self { prefix, endpoint, secrets, builder, route })
    }

    /// # Errors
    /// What the library makes of the settings.
    pub fn connect(&self, patience: Patience) -> Result<AmazonS3, String> {
        // Fails only if it was done before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = ClientOptions::new()
            .with_allow_http(!self.route.is_encrypted)
            // A machine without certificates of authorities can use an unencrypted endpoint.
            .with_no_system_certificates(!self.route.is_encrypted)
            .with_connect_timeout(patience.connect)
            .with_read_timeout(patience.silence)
            .with_timeout_disabled();
        if self.route.is_here {
            // No proxy leads to this machine: naming one that never serves it keeps the environment's out.
            client = client.with_proxy_url("http://127.0.0.1:9").with_proxy_excludes("127.0.0.0/8,::1,localhost");
        }
        let backoff = BackoffConfig {
            init_backoff: patience.retries / 200,
            max_backoff: patience.retries / 5,
            ..BackoffConfig::default()
        };
        self.builder
            .clone()
            .with_client_options(client)
            .with_retry(RetryConfig { backoff, max_retries: 8, retry_timeout: patience.retries })
            .with_disable_bulk_delete(true)
            .build()
            .map_err(|error| error.to_string())
    }
}

fn bucket_and_prefix(location: &str) -> Result<(&str, Path), String> {
    let expected = || "an S3 location is s3://bucket/prefix".to_owned();
    let rest = location.strip_prefix("s3://").ok_or_else(expected)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(is_name) || prefix.starts_with('/') || prefix.contains(['?', '#']) {
        return Err(expected());
    }
    let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|error| error.to_string())?;
    Ok((bucket, prefix))
}

/// Without any the library would look for those of an Amazon machine, and wait for long.
fn expect_credentials(value: impl Fn(AmazonS3ConfigKey) -> Option<String>) -> Result<(), String> {
    use AmazonS3ConfigKey::{
        AccessKeyId, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri, SecretAccessKey,
        WebIdentityTokenFile,
    };
    let others = [WebIdentityTokenFile, ContainerCredentialsRelativeUri, ContainerCredentialsFullUri];
    match (value(AccessKeyId), value(SecretAccessKey)) {
        (Some(_), Some(_)) => Ok(()),
        (None, None) if others.into_iter().any(|key| value(key).is_some()) => Ok(()),
        (None, _) => Err("AWS_ACCESS_KEY_ID is not set".into()),
        (Some(_), None) => Err("AWS_SECRET_ACCESS_KEY is not set".into()),
    }
}

/// The way to an endpoint: encrypted, unless it is on this machine or told otherwise.
fn route(endpoint: &str, allow_http: bool) -> Result<Route, String> {
    let url = Url::parse(endpoint).map_err(|error| format!("AWS_ENDPOINT_URL is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("AWS_ENDPOINT_URL may hold no user or password".into());
    }
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err("AWS_ENDPOINT_URL names no host".into()),
    };
    match url.scheme() {
        "https" => Ok(Route { is_here, is_encrypted: true }),
        "http" if is_here || allow_http => Ok(Route { is_here, is_encrypted: false }),
        "http" => Err(format!(
            "{endpoint} is on another machine and not encrypted; use https:// or set AWS_ALLOW_HTTP=true to do it anyway"
        )),
        other => Err(format!("AWS_ENDPOINT_URL is https:// or http://, not {other}://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "hush")];

    fn read(location: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(location, variables.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    fn with_endpoint(endpoint: &str, more: &[(&str, &str)]) -> Result<Settings, String> {
        read("s3://bucket", &[&KEYS[..], &[("AWS_ENDPOINT_URL", endpoint)], more].concat())
    }

    #[test]
    fn a_location_is_a_bucket_and_maybe_a_prefix() {
        for (location, prefix) in [("s3://b", ""), ("s3://b/", ""), ("s3://b/x/y/", "x/y")] {
            let settings = read(location, &KEYS).expect("fits");
            assert_eq!(settings.prefix.as_ref(), prefix);
            settings.connect(Patience::USUAL).expect("builds");
        }
        for location in
            ["s3://", "s3:///x", "s3://user:word@b", "s3://b:9000/x", "s3://b/../x", "s3://b//x", "s3://b/x?y"]
        {
            assert!(read(location, &KEYS).is_err(), "{location}");
        }
    }

    #[test]
    fn the_endpoint_is_amazons_unless_another_is_named() {
        let amazon = read("s3://b", &[&KEYS[..], &[("AWS_REGION", "eu-central-1")]].concat()).expect("fits");
        assert_eq!(amazon.endpoint, "https://s3.eu-central-1.amazonaws.com");
        let other = with_endpoint("https://minio.example:9000", &[("AWS_TIMEOUT", "1 day"), ("AWS_PROFILE", "x")]);
        assert_eq!(other.expect("fits").endpoint, "https://minio.example:9000");
        let empty = with_endpoint("", &[]).expect("fits");
        assert_eq!(empty.endpoint, "https://s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn unencrypted_endpoints_are_on_this_machine_or_allowed() {
        for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost", "https://minio.example"] {
            with_endpoint(endpoint, &[]).expect(endpoint);
        }
        let refusal = with_endpoint("http://minio.example", &[]).err().expect("refused");
        assert!(refusal.contains("AWS_ALLOW_HTTP=true"), "{refusal}");
        with_endpoint("http://minio.example", &[("AWS_ALLOW_HTTP", "true")]).expect("allowed");
        for endpoint in ["minio.example", "ftp://minio.example", "https://user:word@minio.example"] {
            let refusal = with_endpoint(endpoint, &[]).err().expect("refused");
            assert!(refusal.contains("AWS_ENDPOINT_URL") && !refusal.contains("word@"), "{refusal}");
        }
    }

    #[test]
    fn credentials_that_are_missing_are_named() {
        assert_eq!(read("s3://b", &[]).err().expect("refused"), "AWS_ACCESS_KEY_ID is not set");
        assert_eq!(read("s3://b", &KEYS[..1]).err().expect("refused"), "AWS_SECRET_ACCESS_KEY is not set");
        read("s3://b", &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn")]).expect("fits");
    }
}
