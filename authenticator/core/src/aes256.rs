//! AES-256 a block at a time, and with Galois/Counter Mode.
//!
//! The crate `aes` has one code for a block and another for several at once. What is encrypted here is short, so one of the
//! two is enough: some kB of a microcontroller's flash less, and the round keys once on the stack instead of twice.

use aes::cipher::consts::{U1, U12, U16, U32};
use aes::cipher::inout::InOut;
use aes::cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, Key, KeyInit, KeySizeUser, ParBlocksSizeUser,
};

/// AES-256.
#[derive(Clone)]
pub struct Aes256(aes::Aes256);

/// AES-256-GCM with nonces of 12 bytes.
pub type Aes256Gcm = aes_gcm::AesGcm<Aes256, U12>;

impl BlockSizeUser for Aes256 {
    type BlockSize = U16;
}

impl KeySizeUser for Aes256 {
    type KeySize = U32;
}

impl KeyInit for Aes256 {
    fn new(key: &Key<Self>) -> Self {
        Aes256(aes::Aes256::new(key))
    }
}

impl BlockCipherEncrypt for Aes256 {
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        self.0.encrypt_with_backend(Single(f));
    }
}

impl BlockCipherDecrypt for Aes256 {
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
        self.0.decrypt_with_backend(Single(f));
    }
}

/// Something to do with a backend, which is to see one block at a time; and a backend seen so.
struct Single<T>(T);

impl<T> BlockSizeUser for Single<T> {
    type BlockSize = U16;
}

impl<T> ParBlocksSizeUser for Single<T> {
    type ParBlocksSize = U1;
}

impl<F: BlockCipherEncClosure<BlockSize = U16>> BlockCipherEncClosure for Single<F> {
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        self.0.call(&Single(backend));
    }
}

impl<B: BlockCipherEncBackend<BlockSize = U16>> BlockCipherEncBackend for Single<&B> {
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.0.encrypt_block(block);
    }
}

impl<F: BlockCipherDecClosure<BlockSize = U16>> BlockCipherDecClosure for Single<F> {
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        self.0.call(&Single(backend));
    }
}

impl<B: BlockCipherDecBackend<BlockSize = U16>> BlockCipherDecBackend for Single<&B> {
    fn decrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.0.decrypt_block(block);
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::aead::AeadInOut as _;

    use super::*;

    #[test]
    fn it_encrypts_as_the_library_does() {
        let (key, nonce) = ([3; 32].into(), [5; 12].into());
        for length in [0, 1, 16, 17, 32, 100, 1000] {
            let mut plain = [0; 1000];
            plain.iter_mut().zip(0_u8..=255).for_each(|(byte, number)| *byte = number);
            let (mut ours, mut theirs) = (plain, plain);
            let sealed =
                |text: &mut [u8]| Aes256Gcm::new(&key).encrypt_inout_detached(&nonce, b"a", text.into());
            let tag = sealed(&mut ours[..length]).expect("it is short");
            let library = aes_gcm::Aes256Gcm::new(&key);
            let expected = library.encrypt_inout_detached(&nonce, b"a", (&mut theirs[..length]).into());
            assert_eq!((ours, Ok(tag)), (theirs, expected));
            let opened = Aes256Gcm::new(&key);
            opened
                .decrypt_inout_detached(&nonce, b"a", (&mut ours[..length]).into(), &tag)
                .expect("it is whole");
            assert_eq!(ours, plain);
        }
    }
}
