//! genesys-webhook
