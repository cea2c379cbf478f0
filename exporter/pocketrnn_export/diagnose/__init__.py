"""Why a proof has refused, in words: entered only after it has, so that no answer depends on what stands here."""
