//! Little-endian fields at fixed places, read and written without an index that can panic.
//!
//! Responsible for bytes only; what the fields mean is the business of each format's module.

/// Reads fields one after the other from the start of a slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// The slice ended inside a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let rest = self.bytes.get(self.offset..).ok_or(Short)?;
        let field = rest.first_chunk::<N>().ok_or(Short)?;
        self.offset += N;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes `length` bytes as a slice.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let end = self.offset.checked_add(length).ok_or(Short)?;
        let field = self.bytes.get(self.offset..end).ok_or(Short)?;
        self.offset = end;
        Ok(field)
    }
}

/// Writes fields one after the other into an array of zeros; what does not fit is counted, not
/// written, so that a test can prove that a layout fits.
pub(crate) struct Writer<const N: usize> {
    bytes: [u8; N],
    offset: usize,
}

impl<const N: usize> Writer<N> {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; N],
            offset: 0,
        }
    }

    pub(crate) fn put(&mut self, field: &[u8]) {
        let end = self.offset.saturating_add(field.len());
        if let Some(place) = self.bytes.get_mut(self.offset..end) {
            place.copy_from_slice(field);
        }
        self.offset = end;
    }

    /// Leaves zeros up to `offset`.
    pub(crate) fn skip_to(&mut self, offset: usize) {
        debug_assert!(offset >= self.offset, "a field overlaps the one before");
        self.offset = offset;
    }

    pub(crate) fn written(&self) -> &[u8] {
        self.bytes.get(..self.offset).unwrap_or(&self.bytes)
    }

    pub(crate) fn finish(self) -> [u8; N] {
        debug_assert!(self.offset <= N, "the layout does not fit its array");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_and_the_end_is_an_error() {
        let mut writer = Writer::<16>::new();
        writer.put(&7u32.to_le_bytes());
        writer.skip_to(8);
        writer.put(&9u64.to_le_bytes());
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(reader.bytes(4), Ok(&[0u8; 4][..]));
        assert_eq!(reader.u64(), Ok(9));
        assert_eq!(reader.u8(), Err(Short));
        assert_eq!(reader.bytes(usize::MAX), Err(Short));
        assert_eq!(reader.offset(), 16);
    }
}
