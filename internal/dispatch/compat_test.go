package dispatch

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/compattest"
	"github.com/seed-95a32959/holdfast/session"
)

func TestForwardedRequestsOfReleases(t *testing.T) {
	t.Parallel()
	sent := time.UnixMilli(1_700_000_000_000)
	named := attempt.Attempt{ID: 1 << 40, Deadline: sent.Add(time.Second), Fenced: true}
	again := named
	again.Repeat = true
	put := opWork{putOf("k")}
	batch := line("SET k v EX 9")
	compattest.Run(t, "forwarded", map[string][]byte{
		"an operation": encodeRequest(&request{work: put, ack: session.AckReplica, Attempt: named}, sent, time.Second, 7),
		"repeated":     encodeRequest(&request{work: put, ack: session.AckAll, Attempt: again, hops: 1}, sent, 0, 0),
		"a command":    encodeRequest(&request{work: batch, part: batch.part, Attempt: named}, sent, 0, 7),
	}, func(b []byte) (string, error) {
		r, err := decodeRequest(b)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s partition=%d hops=%d ack=%v id=%d sent=%d deadline=%d repeat=%t fenced=%t epoch=%d",
			r.work.name(), r.part, r.hops, r.ack, r.ID, r.Sent.UnixMilli(), r.Deadline.UnixMilli(), r.Repeat, r.Fenced, r.epoch), nil
	})
	compattest.Run(t, "forwarded-answers", map[string][]byte{
		"of commands": encodeReply(reply{Reply: session.Reply{Node: "a", Ring: "0e01", Acked: 1}, commands: true, answers: []byte("+OK\r\n")}, nil),
		"no session":  encodeReply(reply{Reply: session.Reply{Node: "a", Degraded: true}}, session.ErrNotFound),
		"no majority": encodeReply(reply{}, session.ErrUnavailable),
	}, func(b []byte) (string, error) {
		r, err := decodeReply(b)
		return fmt.Sprintf("node=%s ring=%s acked=%d degraded=%t answers=%q error=%v", r.Node, r.Ring, r.Acked, r.Degraded, r.answers, err), nil
	})
}
