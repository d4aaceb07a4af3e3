package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

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
// in {alice}:laptop. All of them have one owner, so one operation sees all.
func (e *exchange) list() error {
	tag, err := e.userTag()
	if err != nil {
		return err
	}
	reply, err := e.do(&session.Op{Kind: session.List, Key: tag})
	if err != nil {
		return err
	}
	answer := listing{User: e.key, Sessions: make([]listed, 0, len(reply.Records))}
	for _, rec := range reply.Records {
		expiry := rec.Expiry()
		answer.Sessions = append(answer.Sessions, listed{
			ID:       rec.Key(),
			ETag:     etag(rec.Version()),
			Expires:  moment(expiry.At),
			Deadline: moment(expiry.Deadline),
		})
	}
	slices.SortFunc(answer.Sessions, func(a, b listed) int { return cmp.Compare(a.ID, b.ID) })
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	e.answer(http.StatusOK, "application/json", string(body))
	return nil
}

// deleteAll ends the sessions that list names.
func (e *exchange) deleteAll() error {
	tag, err := e.userTag()
	if err != nil {
		return err
	}
	if err := e.noConditions(); err != nil {
		return err
	}
	reply, err := e.write(&session.Op{Kind: session.DeleteAll, Key: tag})
	if err != nil {
		return err
	}
	e.deleted(reply)
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
