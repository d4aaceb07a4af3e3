package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/session"
)

// listing is the answer to GET /v1/users/{user}/sessions.
type listing struct {
	User     string   `json:"user"`
	Sessions []listed `json:"sessions"`
}

// listed is one session of a listing. ETag is the value to send as If-Match.
// Expires can be early by a tenth of the idle time, which is how far apart
// touches are copied. A time that does not apply is left out.
type listed struct {
	ID       string     `json:"id"`
	ETag     string     `json:"etag"`
	Expires  *time.Time `json:"expires,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"`
}

// list names the live sessions whose id carries the user as its tag: {alice}
// in {alice}:laptop. All of them have one owner, who gives them a page at a
// time. What fits on one page is of one moment. Of more, sessions that begin or
// end meanwhile may be in the answer or not, and it is written as it comes.
func (e *exchange) list() error {
	tag, err := e.userTag()
	if err != nil {
		return err
	}
	op := &session.Op{Kind: session.List, Key: tag, NewKey: session.FirstPage}
	sessions, next, err := e.page(op)
	if err != nil {
		return err
	}
	if next == "" {
		body, err := json.Marshal(listing{User: e.key, Sessions: sessions})
		if err != nil {
			return err
		}
		e.answer(http.StatusOK, "application/json", string(body))
		return nil
	}
	return e.listLong(op, sessions, next)
}

// page asks for one page of a listing, and returns also where the next begins,
// "" for nowhere.
func (e *exchange) page(op *session.Op) (sessions []listed, next string, err error) {
	reply, err := e.do(op)
	if err != nil {
		return nil, "", err
	}
	records, next := op.Page(reply.Result)
	sessions = make([]listed, 0, len(records))
	for _, rec := range records {
		expiry := rec.Expiry()
		sessions = append(sessions, listed{
			ID:       rec.Key(),
			ETag:     etag(rec.Version()),
			Expires:  moment(expiry.At),
			Deadline: moment(expiry.Deadline),
		})
	}
	return sessions, next, nil
}

// listLong writes a listing of several pages, of which it has the first. If a
// later one cannot be had, it breaks the connection, so that no client takes
// the half for the whole.
func (e *exchange) listLong(op *session.Op, sessions []listed, next string) error {
	head, err := json.Marshal(listing{User: e.key, Sessions: []listed{}})
	if err != nil {
		return err
	}
	e.w.Header().Set("Content-Type", "application/json")
	e.bare(http.StatusOK)
	if e.r.Method == http.MethodHead {
		return nil
	}
	out := bufio.NewWriter(e.w)
	out.Write(bytes.TrimSuffix(head, []byte("]}"))) // its errors are kept, and Flush returns them
	for first := true; ; first = false {
		for i := range sessions {
			entry, err := json.Marshal(sessions[i])
			if err != nil {
				panic(err) // strings and times always have a JSON form
			}
			if !first || i > 0 {
				out.WriteByte(',')
			}
			out.Write(entry)
		}
		if next == "" {
			break
		}
		if out.Flush() != nil {
			return nil // the client is gone
		}
		op.NewKey = next
		if sessions, next, err = e.page(op); err != nil {
			e.log("listing broken off", "err", e.redact(err.Error()))
			panic(http.ErrAbortHandler)
		}
	}
	out.WriteString("]}")
	_ = out.Flush() // the client is gone if this fails
	return nil
}

// endAllFor is how long deleteAll begins further pages. A router waits 5 s for
// an answer, and a page has 3 s at most.
const endAllFor = 2 * time.Second

// someLeft is the answer to a delete of all that has ended some. Each one ends
// further ones, so it is to be sent again until it succeeds.
var someLeft = refusal{status: http.StatusServiceUnavailable, slug: "sessions-left", title: "Not all sessions ended",
	detail: "some of the user's sessions were ended, and more are left: send the request again until it is answered 204 or 202", retryAfter: 1}

// deleteAll ends the sessions that list names, a page at a time: each is brought
// to all copies before the next one begins.
func (e *exchange) deleteAll() error {
	tag, err := e.userTag()
	if err != nil {
		return err
	}
	if err := e.noConditions(); err != nil {
		return err
	}
	var whole session.Reply
	last := time.Now().Add(endAllFor)
	for n := 0; ; n++ {
		op := &session.Op{Kind: session.DeleteAll, Key: tag, NewKey: session.FirstPage}
		if n > 0 {
			op.NewKey = session.LaterPage(n)
		}
		page, err := e.do(op)
		switch {
		case err != nil && n > 0:
			e.log("not all sessions of a user ended", "err", e.redact(err.Error()))
			return someLeft
		case err != nil:
			return err
		}
		if n == 0 {
			whole = page
		}
		if page.Changed { // else there was nothing to confirm
			whole.Acked = min(whole.Acked, page.Acked)
		}
		whole.Unconfirmed = whole.Unconfirmed || page.Unconfirmed
		if page.Record == nil {
			break
		}
		if time.Now().After(last) {
			return someLeft
		}
	}
	e.w.Header().Set(header.Acked, strconv.Itoa(whole.Acked))
	e.deleted(whole)
	return nil
}

// userTag returns the key whose tag is the user's name. A name with a closing
// brace has none: the tag would end there, and be another user's.
func (e *exchange) userTag() (string, error) {
	if err := e.noParameters(); err != nil {
		return "", err
	}
	if strings.Contains(e.key, "}") {
		return "", badKey("the user in the path has a closing brace, which no tag can hold")
	}
	if len(e.key)+len("{}") > e.MaxKey {
		return "", badKey("the user in the path is too long to be the tag of a key")
	}
	return "{" + e.key + "}", nil
}

// moment turns unix milliseconds into a time; 0 is never.
func moment(unixMilli int64) *time.Time {
	if unixMilli == 0 {
		return nil
	}
	t := time.UnixMilli(unixMilli).UTC()
	return &t
}
