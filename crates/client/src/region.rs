//! The login and API hosts of an organisation's region.
//!
//! Promise: a region is accepted by its domain (`mypurecloud.com`), by its AWS name (`us-east-1`), or as explicit URLs (a
//! gateway, a simulator). The table is Genesys' published list of deployment regions. Out of scope: whether the hosts
//! answer.

use crate::address::{self, AddressRefusal};
use crate::near;

/// Domain and AWS region of every published deployment region.
pub const REGIONS: [(&str, &str); 18] = [
    ("mypurecloud.com", "us-east-1"),
    ("mypurecloud.ie", "eu-west-1"),
    ("mypurecloud.de", "eu-central-1"),
    ("mypurecloud.jp", "ap-northeast-1"),
    ("mypurecloud.com.au", "ap-southeast-2"),
    ("usw2.pure.cloud", "us-west-2"),
    ("cac1.pure.cloud", "ca-central-1"),
    ("mxc1.pure.cloud", "mx-central-1"),
    ("sae1.pure.cloud", "sa-east-1"),
    ("euw2.pure.cloud", "eu-west-2"),
    ("euc2.pure.cloud", "eu-central-2"),
    ("aps1.pure.cloud", "ap-south-1"),
    ("apse1.pure.cloud", "ap-southeast-1"),
    ("apne2.pure.cloud", "ap-northeast-2"),
    ("apne3.pure.cloud", "ap-northeast-3"),
    ("mec1.pure.cloud", "me-central-1"),
    ("use2.us-gov-pure.cloud", "us-east-2"),
    ("edee1.eusc-pure.cloud", "eusc-de-east-1"),
];

/// The two base URLs, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Base of the token endpoint, `https://login.<domain>`.
    pub login_url: String,
    /// Base of the API, `https://api.<domain>`.
    pub api_url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    #[error(
        "unknown region {name:?}: expected a domain such as mypurecloud.ie or an AWS region such as eu-west-1{}",
        near::hint(near)
    )]
    Unknown { name: String, near: Vec<String> },
    #[error("{which}: {refusal}")]
    Url { which: &'static str, refusal: AddressRefusal },
}

impl Endpoints {
    /// The hosts of a region, named by domain or AWS region in any case.
    pub fn for_region(name: &str) -> Result<Self, RegionError> {
        let wanted = name.trim().to_ascii_lowercase();
        match REGIONS.iter().find(|(domain, aws)| *domain == wanted || *aws == wanted) {
            Some((domain, _)) => {
                Ok(Self { login_url: format!("https://login.{domain}"), api_url: format!("https://api.{domain}") })
            }
            None => Err(RegionError::Unknown {
                name: name.to_owned(),
                near: near::matches(&wanted, REGIONS.iter().flat_map(|(domain, aws)| [*domain, *aws])),
            }),
        }
    }

    /// Explicit base URLs, with `allow_private` as in [`address::check`].
    pub fn explicit(login_url: &str, api_url: &str, allow_private: bool) -> Result<Self, RegionError> {
        let base = |which, url: &str| {
            address::check(url, allow_private).map_err(|refusal| RegionError::Url { which, refusal })?;
            Ok(url.trim_end_matches('/').to_owned())
        };
        Ok(Self { login_url: base("login_url", login_url)?, api_url: base("api_url", api_url)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoints, REGIONS, RegionError};

    #[test]
    fn every_region_is_found_by_domain_and_by_aws_name() {
        for (domain, aws) in REGIONS {
            let expected =
                Endpoints { login_url: format!("https://login.{domain}"), api_url: format!("https://api.{domain}") };
            assert_eq!(Endpoints::for_region(domain), Ok(expected.clone()));
            assert_eq!(Endpoints::for_region(&format!(" {} ", aws.to_uppercase())), Ok(expected));
        }
    }

    #[test]
    fn an_unknown_region_names_what_looks_like_it() {
        let error = Endpoints::for_region("mypurecloud.ei").unwrap_err();
        assert!(matches!(&error, RegionError::Unknown { near, .. } if near.contains(&"mypurecloud.ie".to_owned())));
        assert!(error.to_string().contains("mypurecloud.ie"), "{error}");
    }

    #[test]
    fn explicit_urls_are_checked_and_lose_their_last_slash() {
        let endpoints = Endpoints::explicit("http://127.0.0.1:9/", "http://127.0.0.1:9/base/", true).unwrap();
        assert_eq!(
            (endpoints.login_url.as_str(), endpoints.api_url.as_str()),
            ("http://127.0.0.1:9", "http://127.0.0.1:9/base")
        );
        let refused = Endpoints::explicit("https://login.example.com", "http://api.example.com", false).unwrap_err();
        assert!(matches!(refused, RegionError::Url { which: "api_url", .. }));
    }
}
