//! The transition tables of listings and of subscriptions, used for checking and for replay. Drawn
//! in docs/asp.md, "The table of listings" and "The table of subscriptions", and compared with them
//! cell by cell by tests/suite/asp_market.rs.

use serde::{Deserialize, Serialize};

/// Declares an enum whose values have a name, the one in JSON.
macro_rules! named {
    (
        $(#[$doc:meta])*
        $enum:ident { $($(#[$of:meta])* $variant:ident = $name:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum $enum {
            $(
                $(#[$of])*
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl $enum {
            /// All of them, in the order of the document.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name, as in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name)
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use named;

named! {
    /// State of a listing.
    ListingState {
        /// Written, and shown to nobody else; it was never published.
        Draft = "draft",
        /// Waits for an operator.
        InReview = "inReview",
        /// Shown, and takes subscriptions.
        Published = "published",
        /// Taken down by its owner; subscriptions go on.
        Archived = "archived",
        /// Taken down by an operator; subscriptions give nothing meanwhile.
        Suspended = "suspended",
    }
}

named! {
    /// What is done to a listing.
    ListingStep {
        /// Its content is changed.
        Update = "update",
        /// It is handed in for review.
        Submit = "submit",
        /// It is good.
        Approve = "approve",
        /// It is not good, for a reason.
        Reject = "reject",
        /// It is taken down by its owner.
        Archive = "archive",
        /// It is taken down by an operator, for a reason.
        Suspend = "suspend",
        /// It is put up again.
        Restore = "restore",
    }
}

named! {
    /// As whom somebody acts on a listing: O and H of the table.
    ListingVoice {
        /// Who lists it.
        Owner = "owner",
        /// An operator.
        Operator = "operator",
    }
}

/// What a legal step does to the state of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingNext {
    /// It stays: the step is about the content that is pending beside the published one.
    Stays,
    /// It becomes this one.
    To(ListingState),
    /// Back to where it was before it was handed in or suspended: a draft, published or archived.
    Back,
}

named! {
    /// State of a subscription.
    SubscriptionState {
        /// Waits for the publisher.
        Requested = "requested",
        /// Gives what a grant gives.
        Active = "active",
        /// Gives nothing until the publisher resumes it.
        Suspended = "suspended",
        /// The publisher did not want it.
        Refused = "refused",
        /// The subscriber ended it.
        Cancelled = "cancelled",
    }
}

named! {
    /// What is done to a subscription.
    SubscriptionStep {
        /// The request is granted.
        Approve = "approve",
        /// The request is not granted.
        Refuse = "refuse",
        /// It gives nothing for a while.
        Suspend = "suspend",
        /// It gives again.
        Resume = "resume",
        /// It ends.
        Cancel = "cancel",
    }
}

named! {
    /// As whom somebody acts on a subscription: P and S of the table.
    SubscriptionVoice {
        /// Whose listing it is.
        Publisher = "publisher",
        /// Who subscribed.
        Subscriber = "subscriber",
    }
}

named! {
    /// What an operator says of a listing.
    ReviewVerdict {
        /// It is good.
        Approve = "approve",
        /// It is not good, for a reason.
        Reject = "reject",
        /// It is taken down, for a reason.
        Suspend = "suspend",
        /// It is put up again.
        Restore = "restore",
    }
}

named! {
    /// What a publisher says of a subscription.
    ApproveVerdict {
        /// The request is granted.
        Approve = "approve",
        /// The request is not granted.
        Refuse = "refuse",
        /// It gives nothing for a while.
        Suspend = "suspend",
        /// It gives again.
        Resume = "resume",
    }
}

impl ReviewVerdict {
    /// The step that it is.
    #[must_use]
    pub fn step(self) -> ListingStep {
        match self {
            Self::Approve => ListingStep::Approve,
            Self::Reject => ListingStep::Reject,
            Self::Suspend => ListingStep::Suspend,
            Self::Restore => ListingStep::Restore,
        }
    }

    /// Whether it needs a reason.
    #[must_use]
    pub fn needs_reason(self) -> bool {
        matches!(self, Self::Reject | Self::Suspend)
    }
}

impl ApproveVerdict {
    /// The step that it is.
    #[must_use]
    pub fn step(self) -> SubscriptionStep {
        match self {
            Self::Approve => SubscriptionStep::Approve,
            Self::Refuse => SubscriptionStep::Refuse,
            Self::Suspend => SubscriptionStep::Suspend,
            Self::Resume => SubscriptionStep::Resume,
        }
    }
}

impl SubscriptionState {
    /// Whether nothing follows any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Refused | Self::Cancelled)
    }
}

/// What a step does to a listing in a state, when that voice takes it; `None` where it is illegal.
#[must_use]
pub fn next_listing(
    state: ListingState,
    step: ListingStep,
    voice: ListingVoice,
) -> Option<ListingNext> {
    use ListingNext::{Back, Stays, To};
    use ListingState::{Archived, Draft, InReview, Published, Suspended};
    use ListingStep::{Approve, Archive, Reject, Restore, Submit, Suspend, Update};
    use ListingVoice::{Operator, Owner};
    match (step, state, voice) {
        (Update, Draft | Published | Archived | Suspended, Owner) => Some(Stays),
        (Update, InReview, Owner) => Some(Back),
        (Submit, Draft | Archived, Owner) => Some(To(InReview)),
        (Submit, Published | Suspended, Owner) => Some(Stays),
        (Approve, InReview, Operator) => Some(To(Published)),
        (Reject, InReview, Operator) => Some(Back),
        (Approve | Reject, Published | Suspended, Operator) => Some(Stays),
        (Archive, Published, Owner) => Some(To(Archived)),
        (Suspend, Published | Archived, Operator) => Some(To(Suspended)),
        (Restore, Suspended, Operator) => Some(Back),
        _ => None,
    }
}

/// What a subscription becomes by a step, when that voice takes it; `None` where it is illegal.
#[must_use]
pub fn next_subscription(
    state: SubscriptionState,
    step: SubscriptionStep,
    voice: SubscriptionVoice,
) -> Option<SubscriptionState> {
    use SubscriptionState::{Active, Cancelled, Refused, Requested, Suspended};
    use SubscriptionStep::{Approve, Cancel, Refuse, Resume, Suspend};
    use SubscriptionVoice::{Publisher, Subscriber};
    match (step, state, voice) {
        (Approve, Requested, Publisher) | (Resume, Suspended, Publisher) => Some(Active),
        (Refuse, Requested, Publisher) => Some(Refused),
        (Suspend, Active, Publisher) => Some(Suspended),
        (Cancel, Requested | Active | Suspended, Subscriber) => Some(Cancelled),
        _ => None,
    }
}

/// The steps that a voice may take in a state of a listing.
#[must_use]
pub fn allowed_listing(state: ListingState, voice: ListingVoice) -> Vec<ListingStep> {
    let all = ListingStep::ALL.into_iter();
    all.filter(|step| next_listing(state, *step, voice).is_some())
        .collect()
}

/// The steps that a voice may take in a state of a subscription.
#[must_use]
pub fn allowed_subscription(
    state: SubscriptionState,
    voice: SubscriptionVoice,
) -> Vec<SubscriptionStep> {
    let all = SubscriptionStep::ALL.into_iter();
    all.filter(|step| next_subscription(state, *step, voice).is_some())
        .collect()
}
