package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/dump"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// pageTimeout bounds how long a page of a dump waits for the partition's owner.
// It takes milliseconds, and the client asks again.
const pageTimeout = 2 * time.Second

// dump answers with some sessions of a partition, a line each, as package dump
// has them: those whose keys come after one. A page without any is the end.
//
// A page is small, so it is written in one piece, with its length: one that was
// cut short cannot be taken for whole. And as it goes on by key, the next page
// may come from another owner, and by way of another member.
func (e *Endpoint) dump(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, err := strconv.Atoi(q.Get("partition"))
	if err != nil || p < 0 || p >= ring.Partitions {
		problem.Write(w, http.StatusBadRequest, "bad-partition", "No such partition", fmt.Sprintf("partition=%.40q: 0 to %d are accepted", q.Get("partition"), ring.Partitions-1))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	records, err := e.cfg.Sessions.Page(ctx, p, q.Get("after"))
	if err != nil {
		e.refusePage(w, p, err)
		return
	}
	var page []byte
	for _, rec := range records {
		s := dump.Of(rec)
		if page, err = dump.AppendLine(page, &s); err != nil {
			problem.Write(w, http.StatusInternalServerError, "internal", "A session could not be written", err.Error())
			return
		}
	}
	w.Header().Set("Content-Type", dump.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(page) // fails only when the client has left
}

func (e *Endpoint) refusePage(w http.ResponseWriter, partition int, err error) {
	if errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrUncertain) || errors.Is(err, session.ErrNotServed) || errors.Is(err, context.DeadlineExceeded) {
		w.Header().Set("Retry-After", "1")
		problem.Write(w, http.StatusServiceUnavailable, "unavailable", "Owner unavailable", fmt.Sprintf("partition %d: %v", partition, err))
		return
	}
	problem.Write(w, http.StatusInternalServerError, "internal", "The partition could not be read", fmt.Sprintf("partition %d: %v", partition, err))
}
