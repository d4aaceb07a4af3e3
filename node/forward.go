package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-95a32959/holdfast/node/api"
	"github.com/seed-95a32959/holdfast/peer"
	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/session"
)

// A forwarded operation is
//
//	u8 hops | u8 ack | op
//
// and its answer
//
//	u8 error code, 0 for none | u8 flags | u8 acked | u8 length, node | u8 length, ring | result, or the error's text

const (
	replyDegraded = 1 << iota
	replyUnconfirmed
)

// Error codes of an answer beside session.ErrorCode's, which are below 0xf0.
const (
	codeUnavailable byte = 0xf0
	codeUncertain   byte = 0xf1
	codeNoOwner     byte = 0xf2
)

// errNotSent says that a forwarded operation has not reached its owner, or is
// of a kind that may be run again.
var errNotSent = errors.New("not forwarded")

// repeatable says whether running op twice ends as running it once does. A
// condition may be true the first time and false the second.
func repeatable(op *session.Op) bool {
	return op.Kind != session.Rotate && op.IfVersion == 0 && !op.Exists && !op.Create
}

// forward runs op on the member that l leads to.
func (n *Node) forward(ctx context.Context, l *link, op *session.Op, ack replication.Ack, hops int) (api.Reply, error) {
	payload := op.Append([]byte{byte(hops), byte(ack)})
	n.stats.forwarded.Add(1)
	answer, err := l.Call(ctx, typeOp, payload)
	if err != nil {
		switch {
		case errors.Is(err, errNoLink), errors.Is(err, peer.ErrNotSent):
			return api.Reply{}, fmt.Errorf("%w: %w", errNotSent, err)
		case uncertain(err) && repeatable(op):
			return api.Reply{}, fmt.Errorf("%w: %s: %w", errNotSent, l.id.Name, err)
		case uncertain(err):
			return api.Reply{}, fmt.Errorf("%s forwarded to %s: %w: %w", op.Kind, l.id.Name, api.ErrUncertain, err)
		default: // the peer could not read what this member sent
			return api.Reply{}, fmt.Errorf("%s forwarded to %s: %w: %w", op.Kind, l.id.Name, api.ErrUnavailable, err)
		}
	}
	return decodeReply(answer)
}

func encodeReply(r api.Reply, err error) []byte {
	b := make([]byte, 3, 64)
	b[0] = errorCode(err)
	if r.Degraded {
		b[1] |= replyDegraded
	}
	if r.Unconfirmed {
		b[1] |= replyUnconfirmed
	}
	b[2] = byte(r.Acked)
	b = append(append(b, byte(len(r.Node))), r.Node...)
	b = append(append(b, byte(len(r.Ring))), r.Ring...)
	if err != nil {
		return append(b, err.Error()...)
	}
	return r.Result.Append(b)
}

func decodeReply(b []byte) (r api.Reply, err error) {
	short := func() (api.Reply, error) {
		return api.Reply{}, fmt.Errorf("answer of %d bytes: %w", len(b), session.ErrMalformed)
	}
	if len(b) < 4 {
		return short()
	}
	code, flags := b[0], b[1]
	r.Acked = int(b[2])
	r.Degraded, r.Unconfirmed = flags&replyDegraded != 0, flags&replyUnconfirmed != 0
	rest := b[3:]
	for _, s := range []*string{&r.Node, &r.Ring} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return short()
		}
		*s = string(rest[1 : 1+int(rest[0])])
		rest = rest[1+int(rest[0]):]
	}
	if code != 0 {
		return r, errorOf(code, string(rest))
	}
	r.Result, _, err = session.DecodeResult(rest)
	return r, err
}

func errorCode(err error) byte {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, api.ErrUncertain):
		return codeUncertain
	case errors.Is(err, api.ErrUnavailable):
		return codeUnavailable
	case errors.Is(err, errNoOwner), errors.Is(err, errNotSent), errors.Is(err, errNoLink):
		return codeNoOwner
	default:
		return session.ErrorCode(err)
	}
}

func errorOf(code byte, text string) error {
	switch code {
	case codeUncertain:
		return &remoteError{api.ErrUncertain, text}
	case codeUnavailable:
		return &remoteError{api.ErrUnavailable, text}
	case codeNoOwner:
		return &remoteError{errNoOwner, text}
	default:
		return session.ErrorOf(code, text)
	}
}

// remoteError is an error as the owner put it.
type remoteError struct {
	kind error
	text string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }
