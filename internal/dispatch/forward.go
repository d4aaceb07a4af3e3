package dispatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// A forwarded request is
//
//	u8 hops | u8 ack | u8 flags | u64 id | u64 deadline | u64 sent | u64 epoch | op or batch
//
// with times in unix ms by the receiver's clock,
//
// and its answer
//
//	u8 error code, 0 for none | u8 flags | u8 acked | u8 length, node | u8 length, ring | moved | result, answers, or the error's text
//
// where moved is there if the flags say so: u16 length, and the key that the
// session has since a rotation. Members of wire version member.WireMoved alone
// are told.

const (
	requestRepeat = 1 << iota
	requestFenced
	requestBatch
)

const (
	replyDegraded = 1 << iota
	replyUnconfirmed
	replyCommands
	replyMoved
	replyMade
)

// Error codes of an answer beside session.ErrorCode's, which are below 0xf0.
const (
	codeUnavailable byte = 0xf0
	codeUncertain   byte = 0xf1
	codeNoOwner     byte = 0xf2
	codeOtherEpoch  byte = 0xf3
	codeNoMajority  byte = 0xf4
)

// encodeRequest writes r for its next hop, to which it is sent at that time and
// whose clock is ahead by offset. epoch is that of the claim by which it is the
// owner.
func encodeRequest(r *request, sent time.Time, offset time.Duration, epoch uint64) []byte {
	flags := byte(0)
	if r.Repeat {
		flags |= requestRepeat
	}
	if r.Fenced {
		flags |= requestFenced
	}
	if _, batch := r.work.(*batchWork); batch {
		flags |= requestBatch
	}
	b := make([]byte, 0, 256)
	b = append(b, byte(r.hops+1), byte(r.ack), flags)
	b = order.AppendUint64(b, r.ID)
	b = order.AppendUint64(b, uint64(r.Deadline.Add(offset).UnixMilli()))
	b = order.AppendUint64(b, uint64(sent.Add(offset).UnixMilli()))
	b = order.AppendUint64(b, epoch)
	return r.work.encode(b)
}

var order = binary.BigEndian

const requestHeader = 3 + 8 + 8 + 8 + 8

func decodeRequest(b []byte) (*request, error) {
	if len(b) < requestHeader || b[2] > requestRepeat|requestFenced|requestBatch {
		return nil, fmt.Errorf("request of %d bytes: %w", len(b), session.ErrMalformed)
	}
	r := &request{
		hops: int(b[0]), ack: session.Ack(b[1]), epoch: order.Uint64(b[27:]),
		Attempt: attempt.Attempt{
			ID: order.Uint64(b[3:]), Deadline: time.UnixMilli(int64(order.Uint64(b[11:]))), Sent: time.UnixMilli(int64(order.Uint64(b[19:]))),
			Repeat: b[2]&requestRepeat != 0, Fenced: b[2]&requestFenced != 0,
		},
	}
	var err error
	if r.work, err = decodeWork(b[requestHeader:], b[2]&requestBatch != 0); err != nil {
		return nil, err
	}
	if r.part = r.work.partition(); r.part >= ring.Partitions {
		return nil, fmt.Errorf("partition %d: %w", r.part, session.ErrMalformed)
	}
	return r, nil
}

func decodeWork(b []byte, batch bool) (work, error) {
	if batch {
		decoded, err := command.DecodeBatch(b)
		if err != nil {
			return nil, err
		}
		return &batchWork{Batch: decoded, part: partitionOf(decoded)}, nil
	}
	op, _, err := session.DecodeOp(b)
	return opWork{op}, err
}

// forward runs r on the owner that v names.
func (d *Dispatcher) forward(ctx context.Context, v ownership.Decision, r *request) (reply, error) {
	l := d.cfg.Mesh.Link(v.Owner)
	if l == nil {
		return d.reply(), errNoOwner
	}
	d.count.forwarded.Add(1)
	answer, err := l.Call(ctx, mesh.TypeRequest, encodeRequest(r, d.cfg.Clock.Now(), l.ClockOffset(), v.Epoch))
	switch {
	case err == nil:
		rep, err := decodeReply(answer)
		rep.forwarded = true
		if errors.Is(err, attempt.ErrOtherEpoch) {
			l.Beat() // the answer to a heartbeat brings the claims in force
			err = fmt.Errorf("%w: %w", errNoOwner, err)
		}
		return rep, err
	case errors.Is(err, mesh.ErrNoLink), errors.Is(err, peer.ErrNotSent):
		return d.reply(), fmt.Errorf("%w: %w", errNotSent, err)
	case uncertain(err) && r.work.repeatable():
		return d.reply(), fmt.Errorf("%s: %w: %w", l.ID().Name, errUnanswered, err)
	case uncertain(err):
		return d.reply(), fmt.Errorf("%s forwarded to %s: %w: %w", r.work.name(), l.ID().Name, session.ErrUncertain, err)
	default: // the peer could not read what this member sent
		return d.reply(), fmt.Errorf("%s forwarded to %s: %w: %w", r.work.name(), l.ID().Name, session.ErrUnavailable, err)
	}
}

// answer answers a forwarded request.
func (d *Dispatcher) answer(to *peer.Request, r reply, err error) {
	to.Reply(encodeReply(d.told(member.ID{Name: to.From.Name, Boot: to.From.Boot}, r, err), err))
}

// told returns an answer as a member may be told it.
func (d *Dispatcher) told(to member.ID, r reply, err error) reply {
	if r.Moved = movedTo(r, err); r.Moved != "" && !d.cfg.Mesh.Speaks(to, member.WireMoved) {
		r.Moved = ""
	}
	return r
}

// movedTo is the key that a rotation has given to the session that was asked
// for, if that is to be told.
func movedTo(r reply, err error) string {
	if moved, ok := errors.AsType[*session.MovedError](err); ok {
		return moved.To
	}
	return r.Moved
}

// encodeReply writes an answer. It tells where a session was moved by r.Moved
// alone.
func encodeReply(r reply, err error) []byte {
	b := make([]byte, 3, 64+len(r.answers))
	b[0] = errorCode(err)
	if r.Degraded {
		b[1] |= replyDegraded
	}
	if r.Unconfirmed {
		b[1] |= replyUnconfirmed
	}
	if r.commands {
		b[1] |= replyCommands
	}
	if r.made {
		b[1] |= replyMade
	}
	b[2] = byte(r.Acked)
	b = append(append(b, byte(len(r.Node))), r.Node...)
	b = append(append(b, byte(len(r.Ring))), r.Ring...)
	if r.Moved != "" {
		b[1] |= replyMoved
		b = append(order.AppendUint16(b, uint16(len(r.Moved))), r.Moved...)
	}
	if err != nil {
		return append(b, err.Error()...)
	}
	if r.commands {
		return append(b, r.answers...)
	}
	return r.Result.Append(b)
}

// decodeReply reads what encodeReply wrote. The answers of commands lie in b.
func decodeReply(b []byte) (r reply, err error) {
	short := func() (reply, error) {
		return reply{}, fmt.Errorf("answer of %d bytes: %w", len(b), session.ErrMalformed)
	}
	if len(b) < 4 {
		return short()
	}
	code, flags := b[0], b[1]
	r.Acked = int(b[2])
	r.Degraded, r.Unconfirmed = flags&replyDegraded != 0, flags&replyUnconfirmed != 0
	r.commands, r.made = flags&replyCommands != 0, flags&replyMade != 0
	rest := b[3:]
	for _, s := range []*string{&r.Node, &r.Ring} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return short()
		}
		*s = string(rest[1 : 1+int(rest[0])])
		rest = rest[1+int(rest[0]):]
	}
	if flags&replyMoved != 0 {
		if len(rest) < 2 || len(rest) < 2+int(order.Uint16(rest)) {
			return short()
		}
		r.Moved = string(rest[2 : 2+int(order.Uint16(rest))])
		rest = rest[2+len(r.Moved):]
	}
	switch {
	case code != 0 && r.Moved != "":
		return r, &session.MovedError{To: r.Moved}
	case code != 0:
		return r, errorOf(code, string(rest))
	}
	if r.commands {
		r.answers = rest
		return r, nil
	}
	moved := r.Moved
	r.Result, _, err = session.DecodeResult(rest)
	r.Moved = moved
	return r, err
}

func errorCode(err error) byte {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, attempt.ErrOtherEpoch):
		return codeOtherEpoch
	case errors.Is(err, errOvertaken), errors.Is(err, attempt.ErrTooLate):
		return codeNoOwner // the forwarder looks again
	case errors.Is(err, session.ErrUncertain): // whatever else there is to say
		return codeUncertain
	case errors.Is(err, owner.ErrNoMajority):
		return codeNoMajority
	case errors.Is(err, session.ErrUnavailable):
		return codeUnavailable
	case errors.Is(err, errNoOwner), errors.Is(err, errNotSent), errors.Is(err, mesh.ErrNoLink), errors.Is(err, errUnanswered):
		return codeNoOwner
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return codeUncertain // given up here, and the way back has outlived that
	default:
		return session.ErrorCode(err)
	}
}

func errorOf(code byte, text string) error {
	switch code {
	case codeUncertain:
		return &remoteError{session.ErrUncertain, text}
	case codeUnavailable:
		return &remoteError{session.ErrUnavailable, text}
	case codeNoMajority:
		return &remoteError{owner.ErrNoMajority, text}
	case codeOtherEpoch:
		return &remoteError{attempt.ErrOtherEpoch, text}
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

// uncertain says whether a call that broke may or may not have been applied.
func uncertain(err error) bool {
	return errors.Is(err, peer.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
