package ownership

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// Claim is a claim of a partition: its claimant, and the epoch that orders it
// among all claims of the same partition. The zero Claim is none.
type Claim struct {
	Epoch uint64
	By    member.ID
}

// Newer says whether c goes before d: by epoch, and among equal ones by
// claimant. It is a total order.
func (c Claim) Newer(d Claim) bool {
	if planted.Is(planted.NoEpoch) {
		return false
	}
	if c.Epoch != d.Epoch {
		return c.Epoch > d.Epoch
	}
	return c.By.Compare(d.By) > 0
}

// hash is what partition p adds to the hash of a claims table.
func (c Claim) hash(p int) uint64 {
	if c.Epoch == 0 {
		return 0
	}
	b := order.AppendUint16(make([]byte, 0, 64), uint16(p))
	b = order.AppendUint64(b, c.Epoch)
	return xxhash.Sum64(append(b, c.By.String()...))
}

// Request asks the voters for partitions.
//
//	u64 epoch | u8 length, fingerprint of the claimant's ring |
//	u8 number of voters | u8 length, voter … | u16 partition …
type Request struct {
	Epoch uint64
	Ring  string
	// Asked are the voters: all whose consent the claimant waits for.
	// Encoded are the first 255; the others are taken for not asked, which
	// refuses more.
	Asked []member.ID
	Parts []int
}

// Status is a voter's word on one partition of a request.
type Status byte

const (
	Accepted Status = iota + 1
	// Moved: accepted, and the copy that the voter had has just been handed
	// over. Its new holder may have answered before it came.
	Moved
	// Stale: the voter knows a claim with a higher epoch.
	Stale
	// Early: the member that serves the partition is alive, and has not been
	// asked, or the rings differ; or one that may be about to serve it has not
	// been asked. The claim may be repeated when that has changed.
	Early
	// Whole: accepted by who served the partition until now, and had all there
	// is of it.
	Whole
	// Partial: accepted by who served it until now, and could not tell whether
	// there is more, as its copies were out of reach: Decision.Unverified. What
	// it has may just have come, as with Moved.
	Partial
	// Behind: accepted by a member whose copy may lack what the owner has
	// acknowledged: see isBehind.
	Behind
)

// Agrees says whether the voter has accepted.
func (s Status) Agrees() bool {
	return s == Accepted || s == Moved || s == Whole || s == Partial || s == Behind
}

func (s Status) String() string {
	if names := [...]string{Accepted: "accepted", Moved: "moved", Stale: "stale", Early: "early", Whole: "whole", Partial: "partial", Behind: "behind"}; int(s) < len(names) && s > 0 {
		return names[s]
	}
	return fmt.Sprintf("status(%d)", byte(s))
}

// Answer is a voter's answer for one partition of a request.
//
//	u8 status | u64 epoch | u64 digest | u32 count |
//	u32 ms since the copy was handed over, all ones for never |
//	u8 length, claimant
type Answer struct {
	Status Status
	Epoch  uint64 // refused: of the claim that stands
	// Claimant is, as member.ID.String, who made that claim. Where the voter
	// agrees, it is the one who serves the partition, or may be about to, and to
	// whom the voter has just given a lease, if there is one: that one must agree
	// as well, or have ended.
	Claimant string
	Digest   uint64 // agreed to: of what the voter holds
	Count    uint32 // agreed to: how many records that is
	// Left is how long ago the voter handed its copy over, to members that the
	// claimant may not reach; NeverLeft if it never did.
	Left time.Duration
}

// NeverLeft is also what an age of 49 days or more is written as.
const NeverLeft = math.MaxUint32 * time.Millisecond

// MaxAnswer bounds an encoded Answer, in bytes.
const MaxAnswer = answerHeader + 255

const answerHeader = 1 + 8 + 8 + 4 + 4 + 1

// ErrMalformed is what Decode functions return for bytes that they cannot read.
var ErrMalformed = errors.New("malformed claim")

// maxVoters is how many voters an encoded request names.
const maxVoters = math.MaxUint8

var order = binary.BigEndian

// Encode writes a request.
func (r Request) Encode() []byte {
	b := order.AppendUint64(make([]byte, 0, 32+2*len(r.Parts)), r.Epoch)
	b = append(append(b, byte(len(r.Ring))), r.Ring...)
	b = appendIDs(b, r.Asked[:min(len(r.Asked), maxVoters)])
	for _, p := range r.Parts {
		b = order.AppendUint16(b, uint16(p))
	}
	return b
}

// DecodeRequest reads what Request.Encode has written.
func DecodeRequest(b []byte) (r Request, err error) {
	if len(b) < 10 || len(b) < 10+int(b[8]) {
		return r, fmt.Errorf("%d bytes: %w", len(b), ErrMalformed)
	}
	if r.Epoch = order.Uint64(b); r.Epoch == 0 {
		return r, fmt.Errorf("epoch 0, accepted are 1 and above: %w", ErrMalformed)
	}
	r.Ring = string(b[9 : 9+int(b[8])])
	b = b[9+int(b[8]):]
	if r.Asked, b, err = decodeIDs(b); err != nil {
		return r, err
	}
	r.Parts, err = decodeParts(b)
	return r, err
}

// decodeParts reads partitions until the end.
func decodeParts(b []byte) (parts []int, err error) {
	if len(b)%2 != 0 || len(b) > 2*ring.Partitions {
		return nil, fmt.Errorf("%d bytes of partitions: %w", len(b), ErrMalformed)
	}
	for ; len(b) > 0; b = b[2:] {
		p := int(order.Uint16(b))
		if p >= ring.Partitions {
			return nil, fmt.Errorf("partition %d: %w", p, ErrMalformed)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// appendIDs writes a list of at most 255 boots: their number, then each behind
// its length.
func appendIDs(b []byte, ids []member.ID) []byte {
	b = append(b, byte(len(ids)))
	for _, id := range ids {
		s := id.String()
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

// decodeIDs reads what appendIDs has written.
func decodeIDs(b []byte) (ids []member.ID, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("members of no bytes: %w", ErrMalformed)
	}
	ids = make([]member.ID, b[0])
	b = b[1:]
	for i := range ids {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, nil, fmt.Errorf("members cut short: %w", ErrMalformed)
		}
		if ids[i], err = member.ParseID(string(b[1 : 1+int(b[0])])); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		b = b[1+int(b[0]):]
	}
	return ids, b, nil
}

// asks says whether the claimant waits for the consent of holder. The voter
// that reads the request, self, has certainly been asked.
func (r Request) asks(holder, self member.ID) bool {
	return holder == self || slices.Contains(r.Asked, holder)
}

// Append writes an answer behind b. words says whether its reader knows Whole
// and all that come after it.
func (a Answer) Append(b []byte, words bool) []byte {
	switch {
	case words:
	case a.Status == Whole, a.Status == Behind:
		a.Status = Accepted
	case a.Status == Partial:
		a.Status = Moved
	}
	b = append(b, byte(a.Status))
	b = order.AppendUint64(b, a.Epoch)
	b = order.AppendUint64(b, a.Digest)
	b = order.AppendUint32(b, a.Count)
	b = order.AppendUint32(b, uint32(min(a.Left, NeverLeft).Milliseconds()))
	return append(append(b, byte(len(a.Claimant))), a.Claimant...)
}

// DecodeAnswers reads the answers to a request for n partitions.
func DecodeAnswers(b []byte, n int) ([]Answer, error) {
	answers := make([]Answer, 0, n)
	for range n {
		if len(b) < answerHeader || len(b) < answerHeader+int(b[answerHeader-1]) {
			return nil, fmt.Errorf("answer of %d partitions cut short: %w", n, ErrMalformed)
		}
		end := answerHeader + int(b[answerHeader-1])
		a := Answer{
			Status: Status(b[0]), Epoch: order.Uint64(b[1:]), Digest: order.Uint64(b[9:]), Count: order.Uint32(b[17:]),
			Left: time.Duration(order.Uint32(b[21:])) * time.Millisecond, Claimant: string(b[answerHeader:end]),
		}
		if a.Status < Accepted || a.Status > Behind {
			return nil, fmt.Errorf("status %d: %w", a.Status, ErrMalformed)
		}
		answers = append(answers, a)
		b = b[end:]
	}
	return answers, nil
}
