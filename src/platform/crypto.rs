//! SHA-256 of large bodies by WebCrypto, on the buffer that is already there.

use super::js_error;
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    type SubtleCrypto;
    #[wasm_bindgen(thread_local_v2, js_namespace = crypto, js_name = subtle)]
    static SUBTLE: SubtleCrypto;
    #[wasm_bindgen(method, catch)]
    fn digest(this: &SubtleCrypto, algorithm: &str, data: &Uint8Array) -> Result<Promise, JsValue>;
}

pub(crate) async fn sha256(bytes: &Uint8Array) -> Result<[u8; 32], String> {
    let digest = async {
        let buffer = JsFuture::from(SUBTLE.with(|subtle| subtle.digest("SHA-256", bytes))?).await?;
        let digest: Result<[u8; 32], _> = Uint8Array::new(&buffer).to_vec().try_into();
        digest.map_err(|_| JsValue::from_str("a digest that has not 32 bytes"))
    };
    digest.await.map_err(|error| js_error(&error))
}
