//! `rewind pki`: an authority for development, certificates and tokens.

use std::{path::PathBuf, time::SystemTime};

use rewind_security::{Role, SecurityError, pki, tokens};

use crate::{arguments::Pki, error::Error, output};

pub fn run(wanted: Pki) -> Result<(), Error> {
    let now = SystemTime::now();
    match wanted {
        Pki::Create { dir, hosts } => show(pki::create(&dir, &hosts, now)),
        Pki::Issue { dir, role, name, hosts } => show(pki::issue(&dir, role, &name, &hosts, now)),
        Pki::Token { role: Role::Coordinator, .. } => {
            Err(Error::Usage("--role coordinator: a coordinator shows a certificate, no token".into()))
        }
        Pki::Token { role, comment } => {
            let made = tokens::generate(role, &comment);
            output::line(format!("token (shown once): {}", made.token.expose()));
            output::line(format!("line for the tokens file: {}", made.line));
            Ok(())
        }
    }
}

fn show(made: Result<Vec<PathBuf>, SecurityError>) -> Result<(), Error> {
    for file in made.map_err(|error| Error::Usage(error.to_string()))? {
        output::line(file.display().to_string());
    }
    Ok(())
}
