/** What the page says, in English and Korean. */
const ENGLISH = {
  model: "Model",
  openFile: "Open a .tflite file",
  camera: "Camera",
  stop: "Stop",
  picture: "Picture",
  photo: "Photo",
  hint: "Choose a picture, drop one here, or start the camera. Pictures stay on this device.",
  loading: "Loading the model…",
  working: "Working…",
  about: "About this model",
  score: "Lowest score",
  benchmark: "Benchmark",
  benchmarkNote:
    "Times every model on noise in two rounds, each of one second of warm-up and 2.5 of measuring; the network alone. Leave the page open. The figures are this browser's.",
  measure: "Measure",
  share: "Share table (CSV)",
  measuringOf: ({ name }) => `Measuring ${name}…`,
  stopped: "Stopped before the end; rounds that were broken off do not count.",
  measured: "Measured.",
  columnModel: "Model",
  columnSize: "Size",
  columnMedian: "Median",
  columnP95: "95 in 100",
  nothing: "Nothing found.",
  notCounted: "not counted",
  milliseconds: ({ network, picture }) => `network ${network} ms · picture ${picture} ms`,
  rate: ({ rate }) => `${rate} pictures a second`,
  onCpu: ({ threads }) => `CPU, ${threads} ${threads === 1 ? "thread" : "threads"}`,
  compared: ({ place, cpu, gpu }) => `${place} (measured: CPU ${cpu} ms, WebGPU ${gpu} ms)`,
  selfTest: "Self-test",
  selfTestVerified: "verified",
  selfTestDiffers: ({ difference, most }) =>
    `answers differ by ${difference} from those of the file (at most ${most})`,
  selfTestBroken: "answers are no numbers, or of another shape",
  selfTestNone: "none inside",
  kept: "Works without network",
  notOffline: "Needs the network (no https, or a certificate that the browser does not trust)",
  answers: "Answers",
  stage: "Picture with what was found",
  fields: {
    description: "Description",
    task: "Task",
    model: "Network",
    variant: "Variant",
    input: "Input",
    labels: "Labels",
    bytes: "File",
    author: "Author",
    license: "Licence",
    version: "Version",
    runs: "Runs on",
    offline: "Offline",
  },
  tasks: {
    classification: "Classification",
    multilabel: "Labels",
    detection: "Detection",
    segmentation: "Segmentation",
  },
  problems: {
    noModel: "This is no .tflite file. Choose a file that ends in .tflite.",
    noMetadata:
      "This file does not say how it wants its pictures. Export it again: kerascnn compress",
    badMetadata: ({ field }) =>
      `This file's description of itself is damaged (${field}). Copy the file again, or export it again.`,
    newerMetadata: ({ format }) =>
      `This file is of a newer form (${format}) than this page knows. Make the page again: kerascnn web`,
    badInput: ({ input }) =>
      `The network does not take ${input}, as the file's description says. Export it again.`,
    badOutput: ({ output }) =>
      `The network's output "${output}" is not what the file's description says. Export it again.`,
    noNumbers: "The network's answers are no numbers. Train it again, or take another variant.",
    refused: ({ reason }) => `The runtime cannot run this file (${reason}).`,
    noRuntime: ({ reason }) =>
      `The runtime could not be loaded (${reason}). Copy the whole folder, or take a newer browser.`,
    noList: ({ reason }) =>
      `models.json could not be loaded (${reason}). Serve the whole folder: python -m http.server`,
    notKept: "There is no network, and this model was not opened before.",
    notOnGpu: "WebGPU does not take this file whole.",
    noFile: ({ file }) => `${file} is missing in the page's folder. Make the page again.`,
    badPicture: "This is no picture that the browser can show. Take a JPEG, PNG or WebP file.",
    noCamera: "No camera was found. Choose a picture instead.",
    cameraDenied:
      "The camera was not allowed. Allow it in the browser's settings, or choose a picture.",
    insecure:
      "Browsers give the camera to https pages and to localhost alone. Choose or take a photo instead.",
    unexpected: ({ reason }) => `Something went wrong (${reason}). Try again, or load the page again.`,
  },
};

const KOREAN = {
  model: "모델",
  openFile: ".tflite 파일 열기",
  camera: "카메라",
  stop: "정지",
  picture: "사진 선택",
  photo: "촬영",
  hint: "사진을 선택하거나 여기에 끌어다 놓거나 카메라를 켜세요. 사진은 이 기기를 벗어나지 않습니다.",
  loading: "모델을 불러오는 중…",
  working: "처리 중…",
  about: "모델 정보",
  score: "최소 점수",
  benchmark: "벤치마크",
  benchmarkNote:
    "모든 모델을 잡음 이미지로 두 차례 측정합니다. 매번 1초 준비하고 2.5초 측정하며 신경망 시간만 잽니다. 페이지를 열어 두세요. 이 브라우저에서의 수치입니다.",
  measure: "측정",
  share: "표 공유(CSV)",
  measuringOf: ({ name }) => `${name} 측정 중…`,
  stopped: "끝나기 전에 중단했습니다. 도중에 끊긴 측정은 넣지 않았습니다.",
  measured: "측정했습니다.",
  columnModel: "모델",
  columnSize: "크기",
  columnMedian: "중앙값",
  columnP95: "100번 중 95번",
  nothing: "찾은 것이 없습니다.",
  notCounted: "제외",
  milliseconds: ({ network, picture }) => `신경망 ${network} ms · 사진 처리 ${picture} ms`,
  rate: ({ rate }) => `초당 ${rate}장`,
  onCpu: ({ threads }) => `CPU, 스레드 ${threads}개`,
  compared: ({ place, cpu, gpu }) => `${place} (측정값: CPU ${cpu} ms, WebGPU ${gpu} ms)`,
  selfTest: "자체 검사",
  selfTestVerified: "확인됨",
  selfTestDiffers: ({ difference, most }) =>
    `파일에 적힌 결과와 ${difference} 다릅니다(허용 ${most})`,
  selfTestBroken: "결과가 숫자가 아니거나 모양이 다릅니다",
  selfTestNone: "파일에 없음",
  kept: "네트워크 없이 사용할 수 있습니다",
  notOffline: "네트워크가 필요합니다(https가 아니거나 브라우저가 신뢰하지 않는 인증서)",
  answers: "결과",
  stage: "결과를 표시한 사진",
  fields: {
    description: "설명",
    task: "작업",
    model: "신경망",
    variant: "변형",
    input: "입력",
    labels: "레이블",
    bytes: "파일",
    author: "만든 이",
    license: "라이선스",
    version: "버전",
    runs: "실행",
    offline: "오프라인",
  },
  tasks: {
    classification: "이미지 분류",
    multilabel: "다중 레이블 분류",
    detection: "객체 탐지",
    segmentation: "영역 분할",
  },
  problems: {
    noModel: ".tflite 파일이 아닙니다. 이름이 .tflite로 끝나는 파일을 선택하세요.",
    noMetadata:
      "이 파일에는 사진을 어떻게 넣어야 하는지에 대한 정보가 없습니다. 다시 내보내세요: kerascnn compress",
    badMetadata: ({ field }) =>
      `파일에 들어 있는 정보가 손상되었습니다(${field}). 파일을 다시 복사하거나 다시 내보내세요.`,
    newerMetadata: ({ format }) =>
      `이 페이지가 아는 것보다 새로운 형식(${format})의 파일입니다. 페이지를 다시 만드세요: kerascnn web`,
    badInput: ({ input }) => `신경망의 입력이 파일 정보(${input})와 다릅니다. 다시 내보내세요.`,
    badOutput: ({ output }) =>
      `신경망의 출력 "${output}"이(가) 파일 정보와 다릅니다. 다시 내보내세요.`,
    noNumbers: "신경망의 결과가 숫자가 아닙니다. 다시 학습시키거나 다른 변형을 선택하세요.",
    refused: ({ reason }) => `런타임이 이 파일을 실행하지 못합니다(${reason}).`,
    noRuntime: ({ reason }) =>
      `런타임을 불러오지 못했습니다(${reason}). 폴더 전체를 복사하거나 최신 브라우저를 쓰세요.`,
    noList: ({ reason }) =>
      `models.json을 불러오지 못했습니다(${reason}). 폴더 전체를 서버로 여세요: python -m http.server`,
    notKept: "네트워크가 없고, 전에 연 적이 없는 모델입니다.",
    notOnGpu: "WebGPU가 이 파일 전체를 실행하지 못합니다.",
    noFile: ({ file }) => `페이지 폴더에 ${file}이(가) 없습니다. 페이지를 다시 만드세요.`,
    badPicture: "브라우저가 열 수 없는 사진입니다. JPEG, PNG, WebP 파일을 선택하세요.",
    noCamera: "카메라를 찾지 못했습니다. 대신 사진을 선택하세요.",
    cameraDenied:
      "카메라 사용이 허용되지 않았습니다. 브라우저 설정에서 허용하거나 사진을 선택하세요.",
    insecure:
      "브라우저는 https 페이지와 localhost에서만 카메라를 허용합니다. 대신 사진을 선택하거나 촬영하세요.",
    unexpected: ({ reason }) => `문제가 생겼습니다(${reason}). 다시 시도하거나 페이지를 다시 불러오세요.`,
  },
};

export const LANGUAGES = { en: ENGLISH, ko: KOREAN };

/** The first of the user's languages that the page has, else English. */
export function chosenLanguage(wanted) {
  const known = wanted.map((tag) => tag.toLowerCase().split("-")[0]);
  return known.find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? "en";
}

/** A text; `path` as "problems.noModel", `values` for those that have some. */
export function text(language, path, values = {}) {
  const found = path.split(".").reduce((texts, key) => texts[key], LANGUAGES[language]);
  return typeof found === "function" ? found(values) : found;
}
