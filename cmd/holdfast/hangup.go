package main

import (
	"crypto/sha256"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// keyFile is a file with a secret, and the flag that names it.
type keyFile struct{ flag, path string }

// hangups takes the signals that by default end a process because its terminal
// is gone, and that must not end a member without a drain: SIGHUP, which
// operators also send to have files read again, and SIGPIPE, which a write to
// standard error raises when nobody reads the log any more.
type hangups struct {
	log     *slog.Logger
	files   []keyFile
	inUse   map[keyFile][sha256.Size]byte // what each held at the start
	signals chan os.Signal
	done    sync.WaitGroup
}

// watchHangups goes on until stop, which gives SIGHUP back its default effect.
func watchHangups(log *slog.Logger, files []keyFile) (stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	h := &hangups{log: log, files: files, inUse: map[keyFile][sha256.Size]byte{}, signals: make(chan os.Signal, 1)}
	for _, f := range files {
		if data, err := readPrivate(f.flag, f.path); err == nil {
			h.inUse[f] = sha256.Sum256(data)
		}
	}
	signal.Notify(h.signals, syscall.SIGHUP)
	h.done.Go(func() {
		for range h.signals {
			h.reread()
		}
	})
	return func() {
		signal.Stop(h.signals)
		close(h.signals)
		h.done.Wait()
	}
}

// reread looks at the key files again and says what a restart would find: the
// keys in use were told to others and stay until then. A mistake shows now, and
// not in the night of the restart.
func (h *hangups) reread() {
	same, changed := []string{}, []string{}
	for _, f := range h.files {
		data, err := readPrivate(f.flag, f.path)
		switch {
		case err != nil:
			h.log.Error("SIGHUP: a key file cannot be read again; what it held at the start stays in use", "error", err)
		case sha256.Sum256(data) == h.inUse[f]:
			same = append(same, f.path)
		default:
			changed = append(changed, f.path)
		}
	}
	h.log.Info("SIGHUP: files read again; this member goes on, SIGTERM drains it", "unchanged", same, "in_use_after_restart", changed)
}
