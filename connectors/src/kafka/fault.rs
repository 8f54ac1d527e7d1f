//! librdkafka's errors as weir's: who acts, and whether a retry helps.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use weir_contract::{Code, Error};

/// An error of librdkafka while weir was `doing` something.
pub fn of(error: &KafkaError, doing: &str) -> Error {
    match error {
        // The value may be a secret: only the property's name is shown.
        KafkaError::ClientConfig(_, why, property, _) => {
            Error::new(Code::BadOption, format!("Kafka property {property}: {why}"))
                .expected("a property and value that librdkafka takes")
        }
        KafkaError::ClientCreation(why) => Error::new(Code::BadOption, format!("{doing}: {why}")),
        other => match other.rdkafka_error_code() {
            Some(code) => of_code(code, doing),
            None => Error::new(Code::Connect, format!("{doing}: {other}")),
        },
    }
}

/// The same for a bare code.
pub fn of_code(code: RDKafkaErrorCode, doing: &str) -> Error {
    Error::new(kind(code), format!("{doing}: {code}"))
}

/// The same where no retry mends it: never an error that a run waits for.
pub fn for_good(error: Error) -> Error {
    match error.code() {
        Code::Connect => Error::new(Code::Refused, error.what())
            .act("operator: start the program again. Nothing that was read is lost, and nothing is doubled."),
        _ => error,
    }
}

fn kind(code: RDKafkaErrorCode) -> Code {
    use RDKafkaErrorCode as K;
    match code {
        K::UnknownTopicOrPartition | K::UnknownTopic | K::UnknownPartition => Code::NoTopic,
        K::OffsetOutOfRange | K::AutoOffsetReset => Code::Retention,
        K::ProducerFenced
        | K::Fenced
        | K::InvalidProducerEpoch
        | K::IllegalGeneration
        | K::UnknownMemberId
        | K::RebalanceInProgress => Code::Locked,
        K::TopicAuthorizationFailed
        | K::GroupAuthorizationFailed
        | K::ClusterAuthorizationFailed
        | K::TransactionalIdAuthorizationFailed
        | K::SaslAuthenticationFailed
        | K::Authentication
        | K::InvalidTopic
        | K::InvalidPartitions
        | K::InvalidReplicationFactor
        | K::InvalidConfig
        | K::InvalidTransactionTimeout
        | K::PolicyViolation
        | K::UnsupportedVersion
        | K::UnsupportedFeature
        | K::MessageSizeTooLarge
        | K::InvalidRecord
        | K::InvalidTimestamp
        | K::InvalidGroupId
        | K::InvalidSessionTimeout
        | K::InconsistentGroupProtocol
        | K::GroupMaxSizeReached
        | K::OffsetMetadataTooLarge => Code::Refused,
        _ => Code::Connect,
    }
}

#[cfg(test)]
mod tests {
    use weir_engine::run::away::passes;

    use super::*;

    #[test]
    fn what_no_retry_mends_is_not_waited_for() {
        use RDKafkaErrorCode as K;
        for code in
            [K::OutOfOrderSequenceNumber, K::InvalidTransactionalState, K::State, K::Fatal, K::ProducerFenced]
        {
            let error = of_code(code, "committing");
            assert!(!passes(&for_good(error.clone())), "{code:?}");
            assert!(for_good(error.clone()).what().contains(error.what()), "{error}");
        }
        assert_eq!(for_good(of_code(K::Fenced, "committing")).code(), Code::Locked, "its own words stay");
    }

    #[test]
    fn each_kind_names_who_acts() {
        for (code, expected) in [
            (RDKafkaErrorCode::AllBrokersDown, Code::Connect),
            (RDKafkaErrorCode::OperationTimedOut, Code::Connect),
            (RDKafkaErrorCode::AutoOffsetReset, Code::Retention),
            (RDKafkaErrorCode::Fenced, Code::Locked),
            (RDKafkaErrorCode::UnknownTopicOrPartition, Code::NoTopic),
            (RDKafkaErrorCode::TopicAuthorizationFailed, Code::Refused),
            // What a group never takes is not waited for in silence.
            (RDKafkaErrorCode::InvalidSessionTimeout, Code::Refused),
            (RDKafkaErrorCode::InconsistentGroupProtocol, Code::Refused),
            (RDKafkaErrorCode::OffsetMetadataTooLarge, Code::Refused),
        ] {
            assert_eq!(of_code(code, "reading t/0").code(), expected, "{code:?}");
        }
    }
}
