package census

import (
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// Section tells members the counts and the books. A question is
//
//	u64 hash of the books
//
// and an answer, if there is something to tell,
//
//	u32 length, the books, if their hash is another | the counts, if they are due
//
// No section at all is what a version says that has none.
func (c *Census) Section() mesh.Section {
	return mesh.Section{
		Type:     mesh.SectionCensus,
		Ask:      func() []byte { return order.AppendUint64(nil, c.hash.Load()) },
		Asked:    c.asked,
		Answered: c.answered,
	}
}

func (c *Census) asked(from member.ID, question []byte) ([]byte, error) {
	switch len(question) {
	case 0:
		return nil, nil
	case 8:
	default:
		return nil, fmt.Errorf("question for the books of %d bytes: 8 are accepted", len(question))
	}
	var encoded []byte
	if order.Uint64(question) != c.hash.Load() {
		encoded = c.encoded()
	}
	report := c.reportTo(from, c.cfg.Clock.Since())
	if encoded == nil && report == nil {
		return nil, nil
	}
	return append(append(order.AppendUint32(nil, uint32(len(encoded))), encoded...), report...), nil
}

func (c *Census) answered(from member.ID, _ time.Duration, answer []byte) error {
	if len(answer) == 0 {
		return nil
	}
	if len(answer) < 4 || len(answer)-4 < int(order.Uint32(answer)) {
		return fmt.Errorf("answer of %d bytes: %w", len(answer), errBooks)
	}
	encoded := answer[4:]
	encoded, counts := encoded[:order.Uint32(answer)], encoded[order.Uint32(answer):]
	if len(counts) > 0 {
		r, err := decodeReport(counts)
		if err != nil {
			return err
		}
		c.hear(from, r)
	}
	if len(encoded) > 0 {
		b, err := decodeBooks(encoded)
		if err != nil {
			return err
		}
		c.change(func(own *books) news { return news{some: own.merge(b)} })
	}
	return nil
}
