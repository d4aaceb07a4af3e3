package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func newTestLedger() *ledger { return &ledger{key: "k", prefix: "f", ack: "replica"} }

// model is a store that keeps one session.
type model image

func newModel(t require.TestingT, l *ledger) model {
	m, err := decodeImage([]byte(l.creation().body))
	require.NoError(t, err)
	return model(m)
}

func (m model) apply(t require.TestingT, r request) {
	patch, err := decodeImage([]byte(r.body))
	require.NoError(t, err)
	for name, v := range patch {
		m[name] = v
	}
}

func (m model) answer(t require.TestingT) answer {
	body, err := json.Marshal(m)
	require.NoError(t, err)
	return answer{status: http.StatusOK, body: body}
}

// A store that keeps every acknowledged write is never blamed, whatever became
// of the writes without an answer: done at once, done later, or never.
func TestLedgerAcceptsWhatIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newTestLedger()
		m := newModel(t, l)
		var late []request
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				k, r := l.write("door")
				m.apply(t, r)
				l.written(k, answer{status: http.StatusOK})
			case 1: // no answer, or one that says nothing
				k, r := l.write("door")
				late = append(late, r)
				l.written(k, answer{status: http.StatusServiceUnavailable})
			case 2:
				if len(late) > 0 {
					m.apply(t, late[0])
					late = late[1:]
				}
			default:
				l.write("door")
				l.unsent(l.tried)
			}
			require.Empty(t, l.judge(l.floor(), m.answer(t)))
		}
		lost, wrong := l.settle(m.answer(t))
		require.Empty(t, lost)
		require.Empty(t, wrong)
	})
}

// A store that forgets one acknowledged write is found out while the write's
// field has not been written again, however many other writes came after it,
// and the write is counted as lost once.
func TestLedgerFindsALostWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newTestLedger()
		m := newModel(t, l)
		before := rapid.IntRange(0, 20).Draw(t, "before")
		after := rapid.IntRange(0, lanes-1).Draw(t, "after")
		for i := range before + 1 + after {
			k, r := l.write("door")
			if i != before {
				m.apply(t, r)
			}
			l.written(k, answer{status: http.StatusOK})
		}
		require.Contains(t, l.judge(l.floor(), m.answer(t)), "had been acknowledged")
		lost, wrong := l.settle(m.answer(t))
		require.NotEmpty(t, wrong)
		require.Len(t, lost, 1)
		require.EqualValues(t, before+1, lost[0].write)
		lost, wrong = l.settle(m.answer(t))
		require.Empty(t, lost)
		require.Empty(t, wrong)
	})
}

// What was acknowledged after a request was sent need not be in its answer.
func TestLedgerJudgesByTheFloorOfTheRequest(t *testing.T) {
	l := newTestLedger()
	old := newModel(t, l).answer(t)
	f := l.floor()
	k, _ := l.write("door")
	l.written(k, answer{status: http.StatusOK})
	require.Empty(t, l.judge(f, old))
	require.NotEmpty(t, l.judge(l.floor(), old))
}

func TestLedgerFindsWhatNobodyWrote(t *testing.T) {
	l := newTestLedger()
	m := newModel(t, l)
	m["f3"] = 3
	require.Contains(t, l.judge(l.floor(), m.answer(t)), "only 0 writes were tried")
	require.NotEmpty(t, l.judge(l.floor(), answer{status: http.StatusOK, body: []byte(`{"f0":1}`)}))
	require.NotEmpty(t, l.judge(l.floor(), answer{status: http.StatusOK, body: []byte(`<html>`)}))
}

func TestLedgerBoundsItsMemory(t *testing.T) {
	l := newTestLedger()
	for range 1000 {
		k, _ := l.write("door")
		l.written(k, answer{err: errBusy})
	}
	require.Len(t, l.history, remembered)
	require.Len(t, l.unknown, unknowns)
	require.Contains(t, l.story(), "write 1000 sent to door")
}
