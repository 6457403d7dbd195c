//! The places in channels that requests and answers about promises name: admission judges those that
//! are asked for, and gives those that are told the names that the caller knows.

use crate::protocol::asp::{CommitmentRow, DisputeRow, EvidencePlace};
use crate::protocol::{AspRequest, AspResponse};

/// The places that somebody points to as evidence.
pub(in crate::server) fn asked(request: &mut AspRequest) -> &mut [EvidencePlace] {
    match request {
        AspRequest::CommitmentDeliver(deliver) => &mut deliver.references,
        AspRequest::DisputeCreate(create) => &mut create.references,
        AspRequest::DisputeAnswer(answer) => &mut answer.references,
        _ => &mut [],
    }
}

/// The places that an answer tells of.
pub(in crate::server) fn told(response: &mut AspResponse) -> Vec<&mut EvidencePlace> {
    fn of_commitment(row: &mut CommitmentRow) -> impl Iterator<Item = &mut EvidencePlace> {
        let delivery = row.delivery.iter_mut();
        delivery.flat_map(|delivery| &mut delivery.references)
    }
    fn of_dispute(row: &mut DisputeRow) -> impl Iterator<Item = &mut EvidencePlace> {
        let answer = row.answer.iter_mut();
        let answer = answer.flat_map(|answer| &mut answer.references);
        row.references.iter_mut().chain(answer)
    }
    match response {
        AspResponse::CommitmentCreate(row)
        | AspResponse::CommitmentDeliver(row)
        | AspResponse::CommitmentConfirm(row)
        | AspResponse::CommitmentWindow(row)
        | AspResponse::CommitmentInfo(row) => of_commitment(row).collect(),
        AspResponse::CommitmentList(page) => page
            .commitments
            .iter_mut()
            .flat_map(of_commitment)
            .collect(),
        AspResponse::DisputeCreate(row)
        | AspResponse::DisputeAnswer(row)
        | AspResponse::DisputeWithdraw(row)
        | AspResponse::DisputeRule(row)
        | AspResponse::DisputeInfo(row) => of_dispute(row).collect(),
        AspResponse::DisputeList(page) => page.disputes.iter_mut().flat_map(of_dispute).collect(),
        _ => Vec::new(),
    }
}
