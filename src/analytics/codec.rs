//! Values as bytes and back, exactly: fixed-width little-endian integers, floats by their bits, lengths before what has one.

/// A value that can be written and read back.
pub(super) trait Coded: Sized {
    /// Appends it.
    fn put(&self, bytes: &mut Vec<u8>);

    /// Reads it off the front of `bytes`; none if they are not such a value.
    fn get(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Coded for $integer {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &mut &[u8]) -> Option<Self> {
                let (first, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$integer>::from_le_bytes(*first))
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i64 i128);

impl Coded for f64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.to_bits().put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        u64::get(bytes).map(f64::from_bits).filter(|value| value.is_finite())
    }
}

impl Coded for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        u8::from(*self).put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        match u8::get(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.is_some().put(bytes);
        if let Some(value) = self {
            value.put(bytes);
        }
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        if bool::get(bytes)? { T::get(bytes).map(Some) } else { Some(None) }
    }
}

impl Coded for String {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_len(self.len(), bytes);
        bytes.extend_from_slice(self.as_bytes());
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        let len = u32::get(bytes)? as usize;
        let (text, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl<A: Coded, B: Coded> Coded for (A, B) {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.0.put(bytes);
        self.1.put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::get(bytes)?, B::get(bytes)?))
    }
}

/// Writes several values of one kind.
pub(super) fn put_all<'a, T: Coded + 'a>(values: impl ExactSizeIterator<Item = &'a T>, bytes: &mut Vec<u8>) {
    put_len(values.len(), bytes);
    for value in values {
        value.put(bytes);
    }
}

/// Reads what [`put_all`] wrote.
pub(super) fn get_all<T: Coded, C: FromIterator<T>>(bytes: &mut &[u8]) -> Option<C> {
    // A length that lies ends with the bytes: nothing is allocated by it.
    let len = u32::get(bytes)?;
    (0..len).map(|_| T::get(bytes)).collect()
}

fn put_len(len: usize, bytes: &mut Vec<u8>) {
    u32::try_from(len).expect("what is kept is bounded far below").put(bytes);
}

/// A struct is its fields, one after the other.
macro_rules! fields {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Coded for $name {
            fn put(&self, bytes: &mut Vec<u8>) {
                $(self.$field.put(bytes);)*
            }

            fn get(bytes: &mut &[u8]) -> Option<Self> {
                Some($name { $($field: Coded::get(bytes)?),* })
            }
        }
    )*};
}

/// An enum with names is its place among them.
macro_rules! names {
    ($($name:ident)*) => {$(
        impl Coded for $name {
            fn put(&self, bytes: &mut Vec<u8>) {
                (*self as u8).put(bytes);
            }

            fn get(bytes: &mut &[u8]) -> Option<Self> {
                $name::ALL.get(usize::from(u8::get(bytes)?)).copied()
            }
        }
    )*};
}

pub(super) use {fields, names};
