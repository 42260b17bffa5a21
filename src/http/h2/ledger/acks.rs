//! SETTINGS on their way whose ACK is due, in order: hyper's before ours, ours, hyper's after ours.

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acks {
    before: u32,
    pub(super) ours: u32,
    after: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Hyper,
    Ours,
}

impl Acks {
    pub(super) fn is_empty(&self) -> bool {
        self.before == 0 && self.ours == 0 && self.after == 0
    }

    /// None of ours are sent while hyper's of after are on their way.
    pub(super) fn push(&mut self, whose: Whose) {
        match whose {
            Whose::Ours => self.ours += 1,
            Whose::Hyper if self.ours > 0 => self.after += 1,
            Whose::Hyper => self.before += 1,
        }
    }

    pub(super) fn next(&self) -> Option<Whose> {
        match self {
            Acks { before: 1.., .. } => Some(Whose::Hyper),
            Acks { ours: 1.., .. } => Some(Whose::Ours),
            Acks { after: 1.., .. } => Some(Whose::Hyper),
            _ => None,
        }
    }

    pub(super) fn pop(&mut self) {
        match self {
            Acks { before: due @ 1.., .. } | Acks { ours: due @ 1.., .. } | Acks { after: due, .. } => {
                *due = due.saturating_sub(1);
            }
        }
    }
}
