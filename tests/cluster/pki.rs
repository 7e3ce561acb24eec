//! The certificates and keys of one control plane: one CA, a leaf for each party, and the key that signs
//! `ServiceAccount` tokens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::error::Error;

/// A certificate authority that lives in memory; only its certificate is written.
#[derive(Debug)]
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

/// The files of a certificate and its key, both PEM.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The files of the key that signs `ServiceAccount` tokens, both PEM.
#[derive(Debug)]
pub(crate) struct SigningKeyFiles {
    pub(crate) private: PathBuf,
    pub(crate) public: PathBuf,
}

impl Pki {
    /// Makes a CA and writes its certificate into `folder`, which is made too.
    pub(crate) fn create(folder: PathBuf) -> Result<Self, Error> {
        fs::create_dir(&folder).map_err(Error::io("make the folder", &folder))?;
        let subject = "no502 test CA";
        let failed = |problem| Error::Certificate { subject: subject.into(), problem };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed)?;
        let ca_pem = params.self_signed(&key).map_err(failed)?.pem();
        let pki = Self { folder, issuer: Issuer::new(params, key), ca_pem };
        write(&pki.ca_certificate(), &pki.ca_pem)?;
        Ok(pki)
    }

    /// The file of the CA's certificate.
    pub(crate) fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Writes the API server's serving certificate.
    pub(crate) fn server(&self, names: &[&str]) -> Result<CertificateFiles, Error> {
        let subject = "kube-apiserver";
        let failed = |problem| Error::Certificate { subject: subject.into(), problem };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = self.sign(&params).map_err(failed)?;
        let files =
            CertificateFiles { certificate: self.folder.join("apiserver.crt"), key: self.folder.join("apiserver.key") };
        write(&files.certificate, &certificate)?;
        write(&files.key, &key)?;
        Ok(files)
    }

    /// Writes a kubeconfig that holds a client certificate for a user, and no reference to other files.
    pub(crate) fn kubeconfig(&self, file: &Path, server: &str, user: &str, group: Option<&str>) -> Result<(), Error> {
        let failed = |problem| Error::Certificate { subject: user.into(), problem };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.sign(&params).map_err(failed)?;
        let encode = |pem: &str| BASE64_STANDARD.encode(pem);
        let name = "no502-test";
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encode(&self.ca_pem)}}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encode(&certificate),
                "client-key-data": encode(&key),
            }}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        });
        write(file, &config.to_string())
    }

    /// Makes and writes the key that signs `ServiceAccount` tokens.
    pub(crate) fn service_account_key(&self) -> Result<SigningKeyFiles, Error> {
        let failed = |problem| Error::Certificate { subject: "ServiceAccount tokens".into(), problem };
        let key = KeyPair::generate().map_err(failed)?;
        let files = SigningKeyFiles {
            private: self.folder.join("service-account.key"),
            public: self.folder.join("service-account.pub"),
        };
        write(&files.private, &key.serialize_pem())?;
        write(&files.public, &key.public_key_pem())?;
        Ok(files)
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, params: &CertificateParams) -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(Error::io("write", file))
}
