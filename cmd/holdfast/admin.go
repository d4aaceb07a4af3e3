package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// adminTimeout bounds one question to a member. Answers take milliseconds;
	// a frozen member should not make the operator wait.
	adminTimeout = 3 * time.Second
	// maxAnswer bounds what is read of an answer. The ring of 50 nodes with all
	// partitions is some 200 KB.
	maxAnswer = 16 << 20
)

// adminFlags are the flags of the commands that ask a running member.
type adminFlags struct {
	Admin adminURL `placeholder:"URL" default:"http://127.0.0.1:8081" help:"Admin address of any member; the default is that of a lone node, and of the router of holdfast dev."`
}

// present reports whether a member of a state takes part, and can be asked.
// Members that are gone, and earlier boots, stay listed for a while.
func present(state string) bool {
	return state != "gone" && state != "left" && state != "superseded"
}

// askAdmin returns the body of a GET.
func askAdmin(ctx context.Context, base adminURL, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	resp, err := sendAdmin(ctx, http.MethodGet, base, path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read %s%s: %w", base, path, err)
	}
	return body, nil
}

// sendAdmin sends a request without a body. Anything but a 2xx answer is an
// error; else the caller closes the body.
func sendAdmin(ctx context.Context, method string, base adminURL, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, string(base)+path, nil)
	if err != nil {
		return nil, err
	}
	return doAdmin(http.DefaultClient, req, base, path, adminTimeout)
}

// doAdmin is sendAdmin of any request, whose context ends after a time, by a
// client.
func doAdmin(client *http.Client, req *http.Request, base adminURL, path string, within time.Duration) (*http.Response, error) {
	method := req.Method
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable(base, err, within)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		err := fmt.Errorf("%s %s%s: %s", method, base, path, problemText(resp))
		if resp.StatusCode == http.StatusNotFound { // a member has every path that is asked for
			err = fmt.Errorf("%w; %s", err, adminHint)
		}
		return nil, err
	}
	return resp, nil
}

// manyRequests is a client for so many requests at a time, which keeps their
// connections: the default one makes most of them anew.
func manyRequests(n int) *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: n}}
}

// unreachable says what to do about a member that does not answer.
func unreachable(base adminURL, err error, within time.Duration) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the method and the URL, which follow
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", within)
	}
	return fmt.Errorf("cannot reach a member at %s: %w; is one running there? -admin URL names another", base, err)
}

// problemText returns what a refusing answer says: the detail of its problem
// document, else the start of its body.
func problemText(resp *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status is said anyway
	var problem struct{ Title, Detail string }
	if json.Unmarshal(body, &problem) == nil && problem.Title != "" {
		return strings.TrimRight(fmt.Sprintf("%s: %s: %s", resp.Status, problem.Title, problem.Detail), ": ")
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return strings.TrimRight(resp.Status+": "+text, ": ")
}

// decodeAnswer reads a member's JSON. Whatever an application answers at a
// member's public address may be JSON too, so the ring's fingerprint has to be
// there, as in all that is asked for.
func decodeAnswer(body []byte, base adminURL, v any) error {
	var signed struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.Unmarshal(body, &signed); err != nil {
		return noMember(base, err)
	}
	if signed.Fingerprint == "" {
		return noMember(base, errors.New("no ring fingerprint in the answer"))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return noMember(base, err)
	}
	return nil
}

// noMember says what to do about an answer that no member gives.
func noMember(base adminURL, err error) error {
	return fmt.Errorf("%s does not answer as a member does: %w; %s", base, err, adminHint)
}

const adminHint = "-admin URL takes the admin address, not the public one"

// writeAnswer writes a member's answer for programs.
func writeAnswer(w io.Writer, body []byte, base adminURL) error {
	var answer json.RawMessage
	if err := decodeAnswer(body, base, &answer); err != nil {
		return err
	}
	return writeJSON(w, answer)
}

// writeJSON writes a value, or an answer as it came, in indented form.
func writeJSON(w io.Writer, v any) error {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", out)
	return err
}
