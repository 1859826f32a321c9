package kit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
)

// Content is a run of pseudo-random bytes that its seed and size say all about.
type Content struct {
	Seed uint64
	Size int64
}

// Reader returns a reader of the content.
func (c Content) Reader() io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.Seed)
	return io.LimitReader(rand.NewChaCha8(seed), c.Size)
}

// Digest returns the size and sum of the content.
func (c Content) Digest() Digest {
	d, _ := DigestOf(c.Reader()) // it cannot fail
	return d
}

// Save writes the content to a file.
func (c Content) Save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, c.Reader())
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Digest is what tells whether content arrived: its size and SHA-256.
type Digest struct {
	Size int64  `json:"size"`
	Sum  string `json:"sha256"`
}

// DigestOf reads to the end.
func DigestOf(r io.Reader) (Digest, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 64<<10))
	return Digest{n, hex.EncodeToString(h.Sum(nil))}, err
}
