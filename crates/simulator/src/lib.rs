//! genesys-simulator
