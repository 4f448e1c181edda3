/** The page's end of service_worker.js. */

/**
 * Keep the page for days without network.
 *
 * @param {string[]} addresses of what it has loaded beyond itself: models and runtimes.
 * @returns {Promise<boolean>} whether all is kept; browsers do so for localhost and for https pages
 *     whose certificate they trust.
 */
export async function keepOffline(addresses) {
  if (!navigator.serviceWorker) return false;
  try {
    const script = new URL("service_worker.js", document.baseURI);
    const registration = await navigator.serviceWorker.register(script);
    const newest = registration.installing ?? registration.waiting ?? registration.active;
    const worker = (await works(newest)) ? newest : registration.active;
    return worker ? await asked(worker, addresses) : false;
  } catch (error) {
    console.info(`not kept for days without network: ${error.message}`);
    return false;
  }
}

/** Whether a service worker could be installed, once that is known. */
function works(worker) {
  return new Promise((resolve) => {
    const look = () => {
      if (worker.state === "activated") resolve(true);
      if (worker.state === "redundant") resolve(false);
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

function asked(worker, addresses) {
  const { port1, port2 } = new MessageChannel();
  const answered = new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
  });
  worker.postMessage({ keep: addresses }, [port2]);
  return answered;
}
