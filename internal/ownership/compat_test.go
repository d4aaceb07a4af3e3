package ownership

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-95a32959/holdfast/internal/compattest"
	"github.com/seed-95a32959/holdfast/internal/member"
)

func TestClaimsOfReleases(t *testing.T) {
	t.Parallel()
	a, b := id("a", 1), id("b", 2)
	var table Table
	table[3], table[1023] = Claim{7, a}, Claim{9, b}
	compattest.Run(t, "claims", map[string][]byte{
		"of two": Request{Epoch: 7, Ring: "0e01bc308ff514ae", Asked: []member.ID{a, b}, Parts: []int{0, 3, 1023}}.Encode(),
	}, func(b []byte) (string, error) {
		r, err := DecodeRequest(b)
		return fmt.Sprintf("epoch=%d ring=%s asked=%v parts=%v", r.Epoch, r.Ring, r.Asked, r.Parts), err
	})
	compattest.Run(t, "consents", map[string][]byte{
		"given": appendAnswer(Answer{Status: Accepted, Epoch: 7, Digest: 1 << 60, Count: 12, Left: NeverLeft}), "refused": appendAnswer(Answer{Status: Stale, Epoch: 8, Claimant: b.String()}),
		"moved": appendAnswer(Answer{Status: Moved, Left: 1500 * time.Millisecond}),
	}, func(b []byte) (string, error) {
		answers, err := DecodeAnswers(b, 1)
		if err != nil {
			return "", err
		}
		a := answers[0]
		return fmt.Sprintf("status=%d epoch=%d claimant=%q digest=%x count=%d left=%v", a.Status, a.Epoch, a.Claimant, a.Digest, a.Count, a.Left), nil
	})
	compattest.Run(t, "tables", map[string][]byte{"of two": table.Encode(), "empty": new(Table).Encode()}, func(b []byte) (string, error) {
		table, err := DecodeTable(b)
		s := ""
		for p, c := range table {
			if c != (Claim{}) {
				s += fmt.Sprintf("%d: %v; ", p, c)
			}
		}
		return s, err
	})
}

func appendAnswer(a Answer) []byte { return a.Append(nil, false) }
