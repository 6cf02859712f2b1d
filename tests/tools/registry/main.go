// referrers-registry serves go-containerregistry's in-memory registry, with
// the referrers API, over plain HTTP. It is a test tool: it keeps everything
// in memory and asks nobody for a password.
//
// Three things the OCI distribution specification demands are missing in that
// registry and are added here (see conform): the OCI-Subject answer header,
// without which clients write the fallback tag as well, and in lists of
// referrers the annotations, and the artifactType of manifests that name one
// themselves.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address and port to listen on; port 0 takes a free one")
	flag.Parse()
	if flag.NArg() != 0 {
		fmt.Fprintf(os.Stderr, "referrers-registry: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := serve(*listen); err != nil {
		fmt.Fprintf(os.Stderr, "referrers-registry: %v\n", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{
		Handler: conform(registry.New(
			registry.WithReferrersSupport(true),
			registry.Logger(quiet),
		)),
		ErrorLog:          quiet,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}

	stop, forget := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer forget()
	go func() {
		<-stop.Done()
		_ = server.Close()
	}()

	fmt.Printf("listening on %s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const maxManifest = 4 << 20

// conform adds what the registry lacks.
func conform(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
			putManifest(inner, w, r)
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/referrers/"):
			listReferrers(inner, w, r)
		default:
			inner.ServeHTTP(w, r)
		}
	})
}

func putManifest(inner http.Handler, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var manifest struct {
		Subject *v1.Descriptor `json:"subject"`
	}
	if json.Unmarshal(body, &manifest) == nil && manifest.Subject != nil {
		w.Header().Set("OCI-Subject", manifest.Subject.Digest.String())
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	inner.ServeHTTP(w, r)
}

func listReferrers(inner http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := record(inner, r)
	var index v1.IndexManifest
	if answer.status == http.StatusOK && json.Unmarshal(answer.Bytes(), &index) == nil {
		repository, _, _ := strings.Cut(r.URL.Path, "/referrers/")
		for i := range index.Manifests {
			get := r.Clone(r.Context())
			get.URL.Path = repository + "/manifests/" + index.Manifests[i].Digest.String()
			var manifest struct {
				ArtifactType string            `json:"artifactType"`
				Annotations  map[string]string `json:"annotations"`
			}
			if json.Unmarshal(record(inner, get).Bytes(), &manifest) != nil {
				continue
			}
			if manifest.ArtifactType != "" {
				index.Manifests[i].ArtifactType = manifest.ArtifactType
			}
			index.Manifests[i].Annotations = manifest.Annotations
		}
		// The registry lists them in the random order of a map.
		sort.Slice(index.Manifests, func(a, b int) bool {
			return index.Manifests[a].Digest.String() < index.Manifests[b].Digest.String()
		})
		if fixed, err := json.Marshal(&index); err == nil {
			answer.Reset()
			answer.Write(fixed)
			answer.header.Set("Content-Length", strconv.Itoa(len(fixed)))
		}
	}
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.Bytes())
}

// recorder keeps an answer instead of sending it.
type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }

func record(inner http.Handler, r *http.Request) *recorder {
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	inner.ServeHTTP(answer, r)
	return answer
}
