//! `npayload escrow`: money that is held behind promises.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::{self, Columns};
use super::promised::money;
use super::{Context, org_name};
use crate::asp::commitment::EscrowTerms;
use crate::asp::escrow::{Currency, Part};
use crate::asp::registry::AgentRef;
use crate::client::{Escrow, RequestError};
use crate::protocol::ErrorCode;
use crate::protocol::asp::{
    AccountOf, AccountRow, EscrowBalance, EscrowEntry, EscrowLedger, EscrowPayment, MoneyPlace,
};
use crate::types::{CommitmentId, OrgName, PaymentId, RegionName};

/// What to do with money. Sums are whole numbers of the smallest unit of a currency.
#[derive(Clone, Debug, Subcommand)]
pub enum EscrowCommand {
    /// Put money into an account, as an operator
    #[command(after_help = "Examples:
  npayload escrow deposit 50000:EUR --agent agent://acme/writer
  npayload escrow deposit 50000:EUR --org acme --id pay_…")]
    Deposit {
        /// How much: 50000:EUR
        #[arg(value_name = "AMOUNT:CURRENCY", value_parser = money)]
        sum: EscrowTerms,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// Take money out of an account, as an operator
    #[command(after_help = "Example:
  npayload escrow withdraw 2500:EUR --agent agent://acme/writer")]
    Withdraw {
        /// How much: 2500:EUR
        #[arg(value_name = "AMOUNT:CURRENCY", value_parser = money)]
        sum: EscrowTerms,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// Tell what accounts hold
    #[command(after_help = "Examples:
  npayload escrow balance
  npayload escrow balance --agent research-agent --currency EUR --json")]
    Balance {
        #[command(flatten)]
        account: AccountArgs,
        /// In this currency; in all unless given
        #[arg(long, value_name = "CURRENCY")]
        currency: Option<Currency>,
    },
    /// List what happened to accounts, the latest first
    #[command(after_help = "Examples:
  npayload escrow ledger --agent research-agent
  npayload escrow ledger --commitment cmt_… --json")]
    Ledger {
        #[command(flatten)]
        account: AccountArgs,
        /// For this commitment: cmt_…
        #[arg(long, value_name = "COMMITMENT")]
        commitment: Option<CommitmentId>,
        /// Entries at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        max: u64,
    },
}

/// How a payment is known again.
#[derive(Clone, Debug, Args)]
pub struct OnceArgs {
    /// Its id: pay_ and a UUID of version 7, under which it is booked once; a new one unless given
    #[arg(long)]
    id: Option<PaymentId>,
    /// The region whose ledger is meant: any other refuses
    #[arg(long, value_parser = RegionName::parse, value_name = "REGION")]
    region: Option<RegionName>,
}

/// Whose account is meant.
#[derive(Clone, Debug, Args)]
pub struct AccountArgs {
    /// The agent whose account is meant
    #[arg(long)]
    agent: Option<AgentRef>,
    /// The organisation whose ledger is meant; your own unless given
    #[arg(long, value_name = "NAME", value_parser = org_name)]
    org: Option<OrgName>,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: EscrowCommand, context: &Context) -> Result<(), Failure> {
    match command {
        EscrowCommand::Deposit { sum, account, once } => {
            let deposit = payment(sum, account, once);
            let id = deposit.id;
            let row = escrow(context).await?.deposit(deposit).await;
            changed("depositing", id, row, context)
        }
        EscrowCommand::Withdraw { sum, account, once } => {
            let withdraw = payment(sum, account, once);
            let id = withdraw.id;
            let row = escrow(context).await?.withdraw(withdraw).await;
            changed("withdrawing", id, row, context)
        }
        EscrowCommand::Balance { account, currency } => {
            let balance = EscrowBalance {
                agent_id: account.agent,
                org: account.org,
                currency,
            };
            let rows = escrow(context).await?.balance(balance).await;
            let rows = rows.map_err(|error| Failure::request("telling balances", &error, None))?;
            balances(&rows, context)
        }
        EscrowCommand::Ledger {
            account,
            commitment,
            max,
        } => ledger(account, commitment, max, context).await,
    }
}

/// A payment with an id, so that it can be tried again.
fn payment(sum: EscrowTerms, account: AccountArgs, once: OnceArgs) -> EscrowPayment {
    EscrowPayment {
        id: Some(once.id.unwrap_or_else(Escrow::new_id)),
        agent_id: account.agent,
        org: account.org,
        amount: sum.amount,
        currency: sum.currency,
        region: once.region,
    }
}

async fn escrow(context: &Context) -> Result<Escrow, Failure> {
    Ok(context.client().await?.escrow())
}

fn changed(
    what: &str,
    id: Option<PaymentId>,
    row: Result<AccountRow, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let row = row.map_err(|error| {
        let failure = Failure::request(what, &error, None);
        // Whoever tries again has to say that it is the same.
        let is_unknown = match error.server() {
            Some(error) => error.is(ErrorCode::Timeout),
            None => !matches!(error, RequestError::Connect(_)),
        };
        match id.filter(|_| is_unknown) {
            Some(id) => failure.hint(format!("to try it again, once: --id {id}")),
            None => failure,
        }
    })?;
    if context.json {
        return output::print_json(&row);
    }
    output::print(&format!(
        "{}: {} {} available",
        account_text(&row.account),
        output::count(row.available),
        row.currency
    ))
}

fn balances(rows: &[AccountRow], context: &Context) -> Result<(), Failure> {
    if context.json {
        return rows.iter().try_for_each(output::print_json);
    }
    let mut columns = Columns::new(&["ACCOUNT", "CURRENCY", ">AVAILABLE", ">HELD", ">FROZEN"]);
    for row in rows {
        columns.row([
            account_text(&row.account),
            row.currency.to_string(),
            output::count(row.available),
            output::count(row.held),
            output::count(row.frozen),
        ]);
    }
    columns.print("no money")
}

async fn ledger(
    account: AccountArgs,
    commitment: Option<CommitmentId>,
    max: u64,
    context: &Context,
) -> Result<(), Failure> {
    let query = EscrowLedger {
        agent_id: account.agent,
        org: account.org,
        commitment_id: commitment,
        limit: u32::try_from(max.clamp(1, 1000)).unwrap_or(1000),
        cursor: None,
    };
    let mut found = escrow(context).await?.ledger(query);
    let headings = [
        "AT",
        "STEP",
        ">AMOUNT",
        "CURRENCY",
        "FROM",
        "TO",
        "COMMITMENT",
    ];
    let mut columns = Columns::new(&headings);
    for _ in 0..max {
        let Some(entry) = found.next().await else {
            break;
        };
        let entry = entry.map_err(|error| Failure::request("reading the ledger", &error, None))?;
        if context.json {
            output::print_json(&entry)?;
        } else {
            columns.row(cells(&entry));
        }
    }
    if context.json {
        return Ok(());
    }
    columns.print("nothing has happened")
}

fn cells(entry: &EscrowEntry) -> [String; 7] {
    let commitment = entry.commitment_id.map(|id| id.to_string());
    [
        output::time(entry.at),
        entry.step.name().to_owned(),
        output::count(entry.amount),
        entry.currency.to_string(),
        place_text(entry.from.as_ref()),
        place_text(entry.to.as_ref()),
        commitment.unwrap_or_default(),
    ]
}

fn account_text(account: &AccountOf) -> String {
    match (&account.name, account.agent_id) {
        (Some(name), _) => format!("{name} of {}", account.org),
        (None, Some(agent)) => format!("{agent} of {}", account.org),
        (None, None) => account.org.to_string(),
    }
}

fn place_text(place: Option<&MoneyPlace>) -> String {
    let Some(place) = place else {
        return "outside".to_owned();
    };
    let account = account_text(&place.account);
    match place.part {
        Part::Available => account,
        Part::Held => format!("{account}, held"),
        Part::Frozen => format!("{account}, frozen"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::asp::EscrowStep;
    use crate::types::{AgentId, AgentName, Offset, Timestamp};

    #[test]
    fn an_entry_says_from_where_and_to_where() {
        let account = AccountOf {
            org: OrgName::parse("acme").unwrap(),
            agent_id: Some(AgentId(1)),
            name: Some(AgentName::parse("writer").unwrap()),
        };
        let entry = EscrowEntry {
            offset: Offset(0),
            at: Timestamp(1000),
            step: EscrowStep::Deposited,
            amount: 50_000,
            currency: "EUR".parse().unwrap(),
            from: None,
            to: Some(MoneyPlace {
                account,
                part: Part::Held,
            }),
            beneficiary: None,
            commitment_id: None,
            payment_id: None,
            by: None,
        };
        let [_, step, amount, currency, from, to, commitment] = cells(&entry);
        assert_eq!(
            [step, amount, currency, from, to, commitment],
            [
                "deposited",
                "50,000",
                "EUR",
                "outside",
                "writer of acme, held",
                ""
            ]
        );
    }
}
