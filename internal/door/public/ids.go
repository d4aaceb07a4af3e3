package public

import (
	"crypto/rand"

	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// NewID makes an id of 130 random bits that this node owns, so that a new
// session needs no forwarding, and of which it could say that there is none.
func NewID(decide func(p int) ownership.Decision) string {
	// With a share of 1 in 50, 1,000 tries fail once in 10⁸ times, and then
	// the session is merely forwarded.
	var id string
	for range 1000 {
		id = rand.Text()
		if d := decide(ring.Partition(id)); d.Verdict == ownership.Serve && !d.Unverified {
			break
		}
	}
	return id
}

// SamePartition makes a new random id in the partition of id: under the same
// tag, if it has one, or by trying endings, 1,024 on average.
func SamePartition(id string) string {
	text := rand.Text()
	if tag := ring.Tag(id); len(tag) < len(id) {
		// A tag too long to have anything beside it is given up.
		if id := "{" + tag + "}:" + text; len(id) <= session.MaxKey {
			return id
		}
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	want := ring.Partition(id)
	b := append([]byte(text), "AAAA"...)
	end := b[len(text):]
	for i := 0; ; i++ { // 2²⁰ endings, of which each partition has about 1,000
		for j := range end {
			end[j] = alphabet[i>>(5*j)&31]
		}
		if s := string(b); ring.Partition(s) == want {
			return s
		}
	}
}
