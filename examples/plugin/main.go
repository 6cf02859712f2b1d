// approval is a verifier of Ratify's plugin protocol, version 1.0.0: an image passes if somebody approved it who may.
//
// It judges artifacts of type application/vnd.example.approval.v1. Their blob says who approved, and why:
//
//	{"approvedBy": "alice@acme.example", "reason": "REL-42"}
//
// Its configuration says who may: {"approvers": ["alice@acme.example"]}. It needs no network and no library.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What the host writes to stdin, as far as it is read here.
type request struct {
	// The verifier's configuration.
	Config struct {
		Name      string   `json:"name"`
		Type      string   `json:"type"`
		Approvers []string `json:"approvers"`
	} `json:"config"`
	// Where the evidence lies: an OCI layout, below the folder that the plugin is started in.
	StoreConfig struct {
		Store struct {
			LocalCachePath string `json:"localCachePath"`
		} `json:"store"`
	} `json:"storeConfig"`
	// What is to be judged: the manifest of an artifact that refers to the image.
	ReferenceDesc struct {
		Digest string `json:"digest"`
	} `json:"referenceDesc"`
}

type approval struct {
	ApprovedBy string `json:"approvedBy"`
	Reason     string `json:"reason"`
}

// What the host reads from stdout.
type result struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	IsSuccess bool   `json:"isSuccess"`
	Message   string `json:"message"`
}

func main() {
	asked, found, err := run()
	if err != nil {
		// Nothing was found out: the image is neither good nor bad. Codes: Ratify's, 8 is "the command failed".
		printed, _ := json.Marshal(map[string]any{"code": 8, "msg": "the approval cannot be judged", "details": err.Error()})
		fmt.Println(string(printed))
		os.Exit(1)
	}
	printed, _ := json.Marshal(result{asked.Config.Name, asked.Config.Type, found == nil, message(found)})
	fmt.Println(string(printed))
}

// run says why the image does not pass, if it does not, or why that cannot be found out.
func run() (asked request, found, err error) {
	if command := os.Getenv("RATIFY_VERIFIER_COMMAND"); command != "VERIFY" {
		return asked, nil, fmt.Errorf("unknown command %q", command)
	}
	if version := os.Getenv("RATIFY_VERIFIER_VERSION"); version != "1.0.0" {
		return asked, nil, fmt.Errorf("protocol version %q is not known, 1.0.0 is", version)
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return asked, nil, err
	}
	if err := json.Unmarshal(input, &asked); err != nil {
		return asked, nil, err
	}
	if len(asked.Config.Approvers) == 0 {
		return asked, nil, errors.New("the configuration names no approvers")
	}
	// Lines on stderr go to the daemon's log, by their level.
	fmt.Fprintln(os.Stderr, "DEBUG: judging", asked.ReferenceDesc.Digest, "of", os.Getenv("RATIFY_VERIFIER_SUBJECT"))
	var manifest struct {
		Layers []struct {
			Digest string `json:"digest"`
		} `json:"layers"`
	}
	if err := read(asked, asked.ReferenceDesc.Digest, &manifest); err != nil {
		return asked, nil, err
	}
	if len(manifest.Layers) != 1 {
		return asked, fmt.Errorf("an approval has one blob, this artifact has %d", len(manifest.Layers)), nil
	}
	var said approval
	if err := read(asked, manifest.Layers[0].Digest, &said); err != nil {
		return asked, nil, err
	}
	if !slices.Contains(asked.Config.Approvers, said.ApprovedBy) {
		return asked, fmt.Errorf("%q is none of the approvers", said.ApprovedBy), nil
	}
	return asked, nil, nil
}

// read takes JSON out of the layout. The host has checked that all of it has its digest.
func read(asked request, digest string, into any) error {
	algorithm, hex, _ := strings.Cut(digest, ":")
	bytes, err := os.ReadFile(filepath.Join(asked.StoreConfig.Store.LocalCachePath, "blobs", algorithm, hex))
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}

func message(found error) string {
	if found != nil {
		return found.Error()
	}
	return "approved by one who may"
}
