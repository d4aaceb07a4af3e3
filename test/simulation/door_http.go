package simulation

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/session"
)

// httpPort is where the session API is, at nodes and routers.
const httpPort = 8080

// httpClient speaks HTTP, one request at a time. It is no net/http.Client, for
// that one has goroutines of its own, and repeats requests.
type httpClient struct{ *caller }

func (c *httpClient) means(op *session.Op) *session.Op { return op }

func (c *httpClient) call(h *Host, op *session.Op, ack session.Ack, _ int) answer {
	req, err := requestOf(op, ack)
	if err != nil {
		return c.riddle(op, err.Error())
	}
	conn, _, err := c.open(h, httpPort)
	if err != nil {
		return refuse(err)
	}
	req.Host = conn.remote.String()
	out := bufio.NewWriterSize(conn, 4<<10)
	if err := errors.Join(req.Write(out), out.Flush()); err != nil {
		return c.broke(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 4<<10), req)
	if err != nil {
		return c.broke(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return c.broke(err)
	}
	if resp.Close {
		c.drop()
	}
	a, known := toldByHTTP(op.Kind, resp.StatusCode, resp.Header, body)
	if !known {
		return c.riddle(op, fmt.Sprintf("%s %s %.300s", resp.Status, resp.Header, body))
	}
	return a
}

// requestOf is an operation as a client of the session API writes it.
func requestOf(op *session.Op, ack session.Ack) (*http.Request, error) {
	method, path := "", "/v1/sessions/"+url.PathEscape(op.Key)
	body := ""
	switch op.Kind {
	case session.Get:
		method = http.MethodGet
	case session.Put, session.Patch:
		method = map[session.Kind]string{session.Put: http.MethodPut, session.Patch: http.MethodPatch}[op.Kind]
		object := make(map[string]json.RawMessage, len(op.Fields))
		for _, f := range op.Fields {
			object[f.Name] = asJSON(f.Value)
		}
		text, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		body = string(text)
	case session.Touch:
		method, path = http.MethodPost, path+"/touch"
	case session.Rotate:
		method, path = http.MethodPost, path+"/rotate"
	case session.Delete:
		method = http.MethodDelete
	case session.List:
		method, path = http.MethodGet, "/v1/users/"+url.PathEscape(strings.Trim(op.Key, "{}:"))+"/sessions"
	default:
		return nil, fmt.Errorf("%s is no request", op.Kind)
	}
	if op.TTL > 0 {
		path += "?ttl=" + op.TTL.String()
	}
	req, err := http.NewRequest(method, "http://door"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		header.Ack:      ack.String(),
		"Content-Type":  map[bool]string{true: "application/json"}[body != ""],
		"If-None-Match": map[bool]string{true: "*"}[op.Create],
		"If-Match":      matchOf(op),
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

func matchOf(op *session.Op) string {
	switch {
	case op.IfVersion != 0:
		return fmt.Sprintf(`"%016x"`, uint64(op.IfVersion))
	case op.Exists:
		return "*"
	default:
		return ""
	}
}

// asJSON is a value as JSON: a number as it is, and text as a string.
func asJSON(value string) json.RawMessage {
	if _, err := strconv.Atoi(value); err == nil {
		return json.RawMessage(value)
	}
	return json.RawMessage(strconv.Quote(value))
}

// toldByHTTP is what an answer of the session API says. It is not known of one
// that should not be given.
//
// Two things it does not say in so many words. Whether a delete found anything:
// it is answered 204 if not. And of a write that is marked as degraded, whether
// its owner may have had a successor already, so that it may be undone.
func toldByHTTP(kind session.Kind, status int, h http.Header, body []byte) (a answer, known bool) {
	a.Served, a.Degraded = h.Get(header.Node), h.Get(header.Degraded) == "1"
	a.Acked, _ = strconv.Atoi(h.Get(header.Acked))
	a.Unconfirmed = kind.Writes() && a.Degraded || h.Get(header.Unconfirmed) == "1"
	if n, err := strconv.ParseUint(strings.Trim(h.Get("ETag"), `"`), 16, 64); err == nil {
		a.version = session.Stamp(n)
	}
	var doc problem.Document
	if status >= 300 {
		if json.Unmarshal(body, &doc) != nil {
			return a, false
		}
		a.Err = fmt.Sprintf("%d %s: %s", status, strings.TrimPrefix(doc.Type, problem.Base), doc.Detail)
	}
	slug := strings.TrimPrefix(doc.Type, problem.Base)
	switch status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		a.Outcome, a.answered = OK, true
		a.Created = status == http.StatusCreated && kind == session.Put
		a.FindUnsaid = kind == session.Delete
		return a, a.read(kind, h, body)
	case http.StatusNotFound:
		a.Outcome, a.answered = Missing, true
		return a, slug == "not-found"
	case http.StatusGone:
		a.Outcome, a.answered = Deleted, true
		return a, slug == "deleted" || slug == "rotated"
	case http.StatusPreconditionFailed, http.StatusInsufficientStorage:
		a.Outcome, a.answered = Refused, true
	case http.StatusServiceUnavailable:
		a.Outcome, a.answered = Refused, slug == "busy"
	case http.StatusLoopDetected:
		a.Outcome = Refused
	case http.StatusBadGateway: // of a router
		a.Outcome = Unknown
		if strings.Contains(doc.Detail, "was not carried out") {
			a.Outcome = Refused
		}
	case http.StatusGatewayTimeout:
		a.Outcome = Unknown
	default:
		return a, false
	}
	return a, true
}

// read reads what a good answer brings along.
func (a *answer) read(kind session.Kind, h http.Header, body []byte) (ok bool) {
	switch kind {
	case session.Get:
		var object map[string]json.RawMessage
		if strings.HasPrefix(h.Get("Content-Type"), "application/octet-stream") { // which the Redis door has made
			object = map[string]json.RawMessage{valueField: body}
		} else if json.Unmarshal(body, &object) != nil {
			return false
		}
		a.values = make(map[string]string, len(object))
		for name, value := range object {
			a.values[name] = session.ValueBytes(string(value))
		}
	case session.List:
		var list struct{ Sessions []struct{ ID string } }
		if json.Unmarshal(body, &list) != nil {
			return false
		}
		for _, s := range list.Sessions {
			a.keys = append(a.keys, s.ID)
		}
	case session.Rotate:
		key, err := url.PathUnescape(strings.TrimPrefix(h.Get("Location"), "/v1/sessions/"))
		a.moved = key
		return err == nil && key != ""
	}
	return true
}
