//! One public function per behaviour: the use cases, the inbox worker and the timed jobs.
